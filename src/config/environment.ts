import { SETTINGS, type Setting } from './keys.ts';
import { nearest } from './nearest.ts';
import type { Problem } from './problem.ts';

/** A value that a source other than the file gives to a setting, still as text. */
export interface Given {
  readonly setting: Setting;
  readonly text: string;
  /** The unit that the text leaves out. */
  readonly suffix?: string;
  /** The variable or flag. */
  readonly where: string;
  /** The text is the path of a file that holds the value; secrets only. */
  readonly isFile: boolean;
}

/** Names the program reads itself, outside the schema. */
const RESERVED: ReadonlySet<string> = new Set(['SALLYPORT_CONFIG']);
/** Kubernetes puts these into every pod when a Service is named `sallyport`. */
const SERVICE_LINKS =
  /^SALLYPORT_(?:SERVICE_(?:HOST|PORT(?:_[A-Z0-9_]+)?)|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/;

interface Name {
  readonly name: string;
  readonly setting: Setting;
  readonly suffix: string;
  readonly isFile: boolean;
}

/** Every name that the environment may use, in the order of the schema. */
export const ENVIRONMENT_NAMES: readonly Name[] = SETTINGS.flatMap((setting) => {
  const names = [{ name: setting.envName }, ...(setting.note.env ?? [])].map((one) => ({
    name: one.name,
    setting,
    suffix: 'suffix' in one ? (one.suffix ?? '') : '',
    isFile: false,
  }));
  if (setting.note.text !== 'secret') return names;
  return [...names, ...names.map((one) => ({ ...one, name: `${one.name}_FILE`, isFile: true }))];
});

/** What the environment says, and what is wrong with the names it uses. */
export function readEnvironment(env: Readonly<Record<string, string | undefined>>): {
  readonly given: readonly Given[];
  readonly problems: readonly Problem[];
} {
  const given = new Map<Setting, Given>();
  const problems: Problem[] = [];
  for (const { name, setting, suffix, isFile } of ENVIRONMENT_NAMES) {
    const value = env[name];
    if (value === undefined) continue;
    const entry = { setting, text: value, suffix, where: name, isFile };
    const other = given.get(setting);
    if (other === undefined) given.set(setting, entry);
    else if (`${other.text}${other.suffix}` !== `${value}${suffix}` || other.isFile !== isFile)
      problems.push({
        where: name,
        key: setting.key,
        what: `is also set by ${other.where}, to another value; keep one of them`,
      });
  }
  const known = new Set(ENVIRONMENT_NAMES.map(({ name }) => name));
  for (const name of Object.keys(env).sort()) {
    if (!name.startsWith('SALLYPORT_') || known.has(name) || RESERVED.has(name) || SERVICE_LINKS.test(name)) continue;
    const near = nearest(name, known);
    problems.push({
      where: name,
      key: '',
      what: `is not a setting${near === undefined ? '' : `; did you mean ${near}?`}`,
    });
  }
  return { given: [...given.values()], problems };
}
