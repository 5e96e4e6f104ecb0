import type * as z from 'zod/mini';
import { schema } from './schema.ts';
import { type Note, notes, sectionDocs } from './setting.ts';

/** One setting, as every source and every page about settings sees it. */
export interface Setting {
  readonly path: readonly string[];
  /** Dotted, for instance `mfa.timeout`. */
  readonly key: string;
  readonly note: Note;
  /** `SALLYPORT_MFA_TIMEOUT`. */
  readonly envName: string;
}

export interface Section {
  readonly path: readonly string[];
  readonly key: string;
  readonly doc: string;
}

type AnySchema = z.core.$ZodType;
interface Def {
  readonly type: string;
  readonly innerType?: AnySchema;
  readonly element?: AnySchema;
  readonly shape?: Readonly<Record<string, AnySchema>>;
}

const defOf = (node: AnySchema) => node._zod.def as unknown as Def;

/** The schema behind defaults and optionality. */
function bare(node: AnySchema): Def {
  let def = defOf(node);
  while (def.innerType) def = defOf(def.innerType);
  return def;
}

const found: Setting[] = [];
const groups: Section[] = [];
function visit(node: AnySchema, path: readonly string[]): void {
  const key = path.join('.');
  const note = notes.get(node);
  if (note) {
    found.push({ path, key, note, envName: `SALLYPORT_${path.join('_').toUpperCase()}` });
    return;
  }
  const group = sectionDocs.get(node);
  if (group) groups.push({ path, key, doc: group.doc });
  for (const [name, inner] of Object.entries(bare(node).shape ?? {})) visit(inner, [...path, name]);
}
visit(schema, []);

/** Every setting, in the order of the schema. */
export const SETTINGS: readonly Setting[] = found;
export const SECTIONS: readonly Section[] = groups;
export const BY_KEY: ReadonlyMap<string, Setting> = new Map(found.map((setting) => [setting.key, setting]));

/** The keys that may stand at `path`; empty where the schema has no map. */
export function keysAt(path: readonly PropertyKey[]): readonly string[] {
  let def = bare(schema);
  for (const step of path) {
    const next = typeof step === 'number' ? def.element : def.shape?.[String(step)];
    if (!next) return [];
    def = bare(next);
  }
  return Object.keys(def.shape ?? {});
}
