/** How the program ends, after sysexits.h where it has a word for it. Documented in docs/cli.md. */
export const EXIT = {
  ok: 0,
  /** The command line is wrong. */
  usage: 2,
  /** `policy test --exit-code`: a challenge is needed. */
  challenge: 10,
  /** `policy test --exit-code`: denied. */
  deny: 11,
  /** Input data is wrong or damaged. */
  data: 65,
  /** A file that was named is not there or cannot be read. */
  noInput: 66,
  /** A resource is missing or taken: a port, a volume in use, a dependency. */
  unavailable: 69,
  /** A fault of ours. */
  internal: 70,
  /** The settings are wrong. */
  config: 78,
  /** The person interrupted it, as a shell says of SIGINT. */
  interrupted: 130,
} as const;

/** Ends the command with a code and, unless the message is empty, one sentence on stderr. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly code: number;
  constructor(code: number, message = '') {
    super(message);
    this.code = code;
  }
}
