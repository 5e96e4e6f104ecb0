/** One thing that is wrong with the settings. */
export interface Problem {
  /** File, line and column; the name of the environment variable; or the flag. */
  readonly where: string;
  /** The key, for instance `mfa.timeout`. */
  readonly key: string;
  /** What is wrong, and what would be right. */
  readonly what: string;
}

/** What is wrong between settings; the place is found later. */
export interface CrossProblem {
  readonly path: readonly PropertyKey[];
  readonly what: string;
}

/** The settings cannot be used. Carries every problem at once, in the order of the sources. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly Problem[];
  /** The settings file itself could not be read. */
  readonly unreadable: boolean;
  constructor(problems: readonly Problem[], unreadable = false) {
    const count = problems.length === 1 ? '1 problem' : `${problems.length} problems`;
    const lines = problems.map(({ where, key, what }) => `  ${where}: ${key === '' ? '' : `${key} `}${what}`);
    super(`${count} in the settings\n${lines.join('\n')}`);
    this.problems = problems;
    this.unreadable = unreadable;
  }
}
