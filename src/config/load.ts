import { readFileSync } from 'node:fs';
import { crossCheck } from './cross-check.ts';
import { type Given, readEnvironment } from './environment.ts';
import { BY_KEY, keysAt, SECTIONS, SETTINGS } from './keys.ts';
import { nearest } from './nearest.ts';
import { ConfigError, type Problem } from './problem.ts';
import { type Config, schema } from './schema.ts';
import { Secret } from './secret.ts';
import type { SettingsFile } from './yaml-file.ts';

export interface Sources {
  /** Path of a YAML file. */
  readonly file?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Dotted key → text, from the command line. */
  readonly flags?: Readonly<Record<string, string>>;
}

export interface Origin {
  readonly source: 'default' | 'file' | 'env' | 'flag';
  /** File position, variable, flag, or `default`. */
  readonly where: string;
}

export interface Loaded {
  readonly config: Config;
  /** By dotted key; every setting has one. */
  readonly origins: ReadonlyMap<string, Origin>;
  /** Each setting as written; for printing. Secrets are `Secret`. */
  readonly written: ReadonlyMap<string, unknown>;
  /** What a person should be told at start: settings that nothing reads yet, and settings that loosen. */
  readonly notices: readonly string[];
}

type Tree = Record<string, unknown>;
const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null && !Array.isArray(value);

function read(tree: Tree, path: readonly string[]): unknown {
  let value: unknown = tree;
  for (const key of path) value = isTree(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return value;
}

/** Does nothing where the file has something else in place of a section; the schema reports that. */
function write(tree: Tree, path: readonly string[], value: unknown): void {
  let at = tree;
  for (const key of path.slice(0, -1)) {
    if (!Object.hasOwn(at, key) || at[key] === null) at[key] = {};
    const next = at[key];
    if (!isTree(next)) return;
    at = next;
  }
  at[path.at(-1) ?? ''] = value;
}

function readSecret(path: string): Secret | string {
  try {
    const value = readFileSync(path, 'utf8').replace(/\r?\n$/, '');
    return value === '' ? `names the file ${path}, which is empty` : new Secret(value);
  } catch (error) {
    return `names a file that cannot be read: ${error instanceof Error ? error.message : error}`;
  }
}

/** The secret that a written reference stands for, or what is wrong with the reference. Never repeats what was written. */
function resolveSecret(reference: unknown, env: Sources['env']): Secret | string {
  const entries = isTree(reference) ? Object.entries(reference) : [];
  const [kind, name] = entries[0] ?? [];
  if (entries.length !== 1 || typeof name !== 'string' || (kind !== 'file' && kind !== 'env'))
    return 'must be { file: PATH } or { env: NAME }: a secret is not written into settings';
  if (kind === 'file') return readSecret(name);
  const value = env[name];
  return value ? new Secret(value) : `names the environment variable ${name}, which is not set`;
}

/** The written form that a text from environment or flag stands for, or what is wrong with it. */
function fromText({
  setting,
  text,
  suffix = '',
  isFile,
}: Given): { readonly value: unknown } | { readonly wrong: string } {
  if (isFile) {
    const value = readSecret(text);
    return typeof value === 'string' ? { wrong: value } : { value };
  }
  if (setting.note.text === 'secret') return text === '' ? { wrong: 'is empty' } : { value: new Secret(text) };
  const { text: form, expects } = setting.note;
  if (suffix !== '' && !/^\d{1,9}$/.test(text)) return { wrong: `must be a whole number, not ${JSON.stringify(text)}` };
  if (form === 'plain') return { value: `${text}${suffix}` };
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    const list = expects.startsWith('a list') ? ', written as JSON, for instance ["a", "b"]' : '';
    return { wrong: `must be ${expects}${list}, not ${JSON.stringify(text)}` };
  }
}

function readFlags(flags: Readonly<Record<string, string>>): { given: Given[]; problems: Problem[] } {
  const given: Given[] = [];
  const problems: Problem[] = [];
  for (const [key, text] of Object.entries(flags)) {
    const where = `--set ${key}`;
    const ofFile = key.endsWith('.file') ? BY_KEY.get(key.slice(0, -'.file'.length)) : undefined;
    const setting = BY_KEY.get(key) ?? (ofFile?.note.text === 'secret' ? ofFile : undefined);
    if (!setting) {
      const near = nearest(key, BY_KEY.keys());
      problems.push({ where, key, what: `is not a setting${near === undefined ? '' : `; did you mean ${near}?`}` });
    } else if (setting.note.text === 'secret' && setting !== ofFile) {
      problems.push({
        where,
        key,
        what: `is a secret, and command lines can be read by others; use ${setting.key}.file`,
      });
    } else given.push({ setting, text, where, isFile: setting === ofFile });
  }
  return { given, problems };
}

function unknownKey(path: readonly PropertyKey[], key: string): string {
  const here = nearest(key, keysAt(path));
  const elsewhere = SETTINGS.find((setting) => setting.path.at(-1) === key || setting.key === key)?.key;
  const near = here === undefined ? elsewhere : dotted([...path, here]);
  return `is not a setting${near === undefined ? '' : `; did you mean ${near}?`}`;
}

/** `policy.rules[2].match` */
export function dotted(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, step) =>
      typeof step === 'number' ? `${text}[${step}]` : text === '' ? String(step) : `${text}.${String(step)}`,
    '',
  );
}

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) freeze(inner);
  }
  return value;
}

/**
 * Reads defaults, then the file, then the environment, then the flags, each over the one before. Throws ConfigError
 * with every problem of all of them.
 */
export async function loadSettings({ file, env, flags = {} }: Sources): Promise<Loaded> {
  const settingsFile: SettingsFile | undefined =
    file === undefined ? undefined : (await import('./yaml-file.ts')).readSettingsFile(file);
  const tree: Tree = structuredClone(settingsFile?.content ?? {}) as Tree;
  const environment = readEnvironment(env);
  const commandLine = readFlags(flags);
  const problems: Problem[] = [];
  const origins = new Map<string, Origin>();

  // A section whose lines are all commented out reads as null.
  for (const { path } of SECTIONS) if (read(tree, path) === null) write(tree, path, {});
  for (const setting of SETTINGS) {
    const written = read(tree, setting.path);
    const where = settingsFile?.locate(setting.path) ?? '';
    origins.set(
      setting.key,
      written === undefined ? { source: 'default', where: 'default' } : { source: 'file', where },
    );
    if (written === undefined || setting.note.text !== 'secret') continue;
    const secret = resolveSecret(written, env);
    write(tree, setting.path, typeof secret === 'string' ? undefined : secret);
    if (typeof secret === 'string') problems.push({ where, key: setting.key, what: secret });
  }
  const layers = [
    ['env', environment.given],
    ['flag', commandLine.given],
  ] as const;
  for (const [source, all] of layers) {
    for (const given of all) {
      const { setting, where } = given;
      const result = fromText(given);
      if ('wrong' in result) problems.push({ where, key: setting.key, what: result.wrong });
      else {
        write(tree, setting.path, result.value);
        origins.set(setting.key, { source, where });
      }
    }
  }

  const place = (path: readonly PropertyKey[]): string => {
    for (let length = path.length; length > 0; length -= 1) {
      const origin = origins.get(path.slice(0, length).join('.'));
      if (origin && origin.source !== 'default' && origin.source !== 'file') return origin.where;
    }
    return settingsFile?.locate(path) ?? 'default';
  };
  const parsed = schema.safeParse(tree);
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      if (issue.code === 'unrecognized_keys')
        for (const key of issue.keys)
          problems.push({
            where: place([...issue.path, key]),
            key: dotted([...issue.path, key]),
            what: unknownKey(issue.path, key),
          });
      else problems.push({ where: place(issue.path), key: dotted(issue.path), what: issue.message });
    }
  }
  problems.push(...environment.problems, ...commandLine.problems);
  const crossed = parsed.success ? crossCheck(parsed.data, (key) => origins.get(key)?.source !== 'default') : undefined;
  for (const { path, what } of crossed?.problems ?? []) problems.push({ where: place(path), key: dotted(path), what });
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);

  return {
    config: freeze(parsed.data),
    origins,
    written: new Map(SETTINGS.map(({ key, path, note }) => [key, read(tree, path) ?? note.fallback])),
    notices: crossed?.notices ?? [],
  };
}

/** The settings alone; see `loadSettings`. */
export async function loadConfig(sources: Sources): Promise<Config> {
  return (await loadSettings(sources)).config;
}
