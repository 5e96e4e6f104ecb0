import * as z from 'zod/mini';
import { nearest } from './nearest.ts';
import { Secret } from './secret.ts';
import { DURATION_PATTERN, parseDuration, parseSize, SIZE_PATTERN } from './units.ts';

// One parse per process is not worth compiling code for; and nothing here makes code from text.
z.config({ jitless: true });

/** The kinds of settings. Each builder makes a schema that reads the written form and says in one line what is wrong. */

/** What is known of a setting besides its schema; docs, example file, environment and flags are made from it. */
export interface Note {
  /** One sentence, or two. */
  readonly doc: string;
  /** How text from the environment or a flag becomes the written form: as it is, or read as JSON. */
  readonly text: 'plain' | 'json' | 'secret';
  /** The written default; undefined when there is none. */
  readonly fallback?: unknown;
  /** Further environment names; `suffix` is put behind the value. */
  readonly env?: readonly { readonly name: string; readonly suffix?: string }[];
  /** What can be written. */
  readonly expects: string;
}

/** Which schemas are settings, and their notes. */
export const notes = z.registry<Note>();
/** What a section is about. */
export const sectionDocs = z.registry<{ readonly doc: string }>();

export type More = Pick<Note, 'env'>;

function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

/** The message for a value of the wrong form. */
const wrong = (expects: string) => (issue: { readonly input?: unknown }) =>
  issue.input === undefined ? `is missing: needs ${expects}` : `must be ${expects}, not ${show(issue.input)}`;

function noted<T extends z.ZodMiniType>(schema: T, fallback: z.input<T>, note: Omit<Note, 'fallback'>) {
  const setting = z.prefault(schema, fallback as never);
  notes.add(setting, { ...note, fallback });
  return setting;
}

/** Text of a form. */
export const textOf = (expects: string, pattern: RegExp) =>
  z.string({ error: wrong(expects) }).check(z.regex(pattern, { error: wrong(expects) }));

export const choiceSchema = <const V extends readonly [string, ...string[]]>(values: V) =>
  z.enum(values, {
    error: (issue) => {
      const near = typeof issue.input === 'string' ? nearest(issue.input, values) : undefined;
      return `${wrong(`one of ${values.join(', ')}`)(issue)}${near === undefined ? '' : `; did you mean ${near}?`}`;
    },
  });

/** Milliseconds, written as `60s` or `1h30m`. */
export const durationSchema = (min: string, max: string) => {
  const expects = `a duration from ${min} to ${max}, for instance 90s`;
  return z.pipe(
    textOf(expects, DURATION_PATTERN),
    z.transform((text, context) => {
      const value = parseDuration(text);
      if (value !== undefined && value >= (parseDuration(min) ?? 0) && value <= (parseDuration(max) ?? 0)) return value;
      context.issues.push({ code: 'custom', message: wrong(expects)({ input: text }), input: text });
      return 0;
    }),
  );
};

export const anyText = (max = 4096) =>
  z.string({ error: wrong('text') }).check(z.maxLength(max, { error: `must have at most ${max} characters` }));

/** The name of a realm. */
export const slug = textOf('lower-case letters, digits and hyphens, at most 63', /^[a-z0-9][a-z0-9-]{0,62}$/);

/** Where a server listens, as written. */
export const hostAndPort = textOf(
  'host:port, for instance redis.example:6379 or [::1]:6379',
  /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):\d{1,5}$/,
);

export function text(
  doc: string,
  fallback: string,
  more: More & { readonly pattern?: RegExp; readonly expects?: string } = {},
) {
  const { pattern, expects = 'text', ...rest } = more;
  const schema = pattern === undefined ? anyText() : textOf(expects, pattern);
  return noted(schema, fallback, { doc, text: 'plain', expects, ...rest });
}

export function choice<const V extends readonly [string, ...string[]]>(
  doc: string,
  values: V,
  fallback: V[number],
  more: More = {},
) {
  return noted(choiceSchema(values), fallback as never, {
    doc,
    text: 'plain',
    expects: `one of ${values.join(', ')}`,
    ...more,
  });
}

/** A list of distinct choices. */
export function choices<const V extends readonly [string, ...string[]]>(
  doc: string,
  values: V,
  fallback: readonly V[number][],
  more: More & { readonly mayBeEmpty?: boolean } = {},
) {
  const { mayBeEmpty = false, ...rest } = more;
  const expects = `a list of ${values.join(', ')}`;
  return noted(listSchema(choiceSchema(values), expects, mayBeEmpty), [...fallback] as never, {
    doc,
    text: 'json',
    expects,
    ...rest,
  });
}

export function listSchema<T extends z.ZodMiniType>(item: T, expects: string, mayBeEmpty: boolean) {
  return z.array(item, { error: wrong(expects) }).check(
    z.refine((list) => mayBeEmpty || list.length > 0, { error: 'must not be empty' }),
    z.refine((list) => list.length <= 1000, { error: 'must have at most 1000 entries' }),
    z.refine((list) => list.some((one) => typeof one === 'object') || new Set(list).size === list.length, {
      error: 'must not name anything twice',
    }),
  );
}

export function list<T extends z.ZodMiniType>(
  doc: string,
  item: T,
  fallback: readonly z.input<T>[],
  expects: string,
  mayBeEmpty = false,
) {
  return noted(listSchema(item, expects, mayBeEmpty), [...fallback], { doc, text: 'json', expects });
}

export function toggle(doc: string, fallback: boolean, more: More = {}) {
  return noted(z.boolean({ error: wrong('true or false') }), fallback, {
    doc,
    text: 'json',
    expects: 'true or false',
    ...more,
  });
}

export function whole(doc: string, fallback: number, [min, max]: readonly [number, number], more: More = {}) {
  const expects = `a whole number from ${min} to ${max}`;
  const error = wrong(expects);
  const schema = z.int({ error }).check(z.gte(min, { error }), z.lte(max, { error }));
  return noted(schema, fallback, { doc, text: 'json', expects, ...more });
}

export function duration(doc: string, fallback: string, [min, max]: readonly [string, string], more: More = {}) {
  const expects = `a duration from ${min} to ${max}`;
  return noted(durationSchema(min, max), fallback, { doc, text: 'plain', expects, ...more });
}

/** A duration that may be left out. */
export function maybeDuration(doc: string, [min, max]: readonly [string, string], more: More = {}) {
  const expects = `a duration from ${min} to ${max}`;
  return z.optional(durationSchema(min, max)).register(notes, { doc, text: 'plain', expects, ...more });
}

/** Bytes, written as `64KiB`. */
export function size(doc: string, fallback: string, [min, max]: readonly [string, string], more: More = {}) {
  const expects = `a size from ${min} to ${max}`;
  const schema = z.pipe(
    textOf(`${expects}, for instance 64KiB`, SIZE_PATTERN),
    z.transform((written, context) => {
      const value = parseSize(written);
      if (value !== undefined && value >= (parseSize(min) ?? 0) && value <= (parseSize(max) ?? 0)) return value;
      context.issues.push({ code: 'custom', message: wrong(expects)({ input: written }), input: written });
      return 0;
    }),
  );
  return noted(schema, fallback, { doc, text: 'plain', expects, ...more });
}

export interface Address {
  /** Without brackets. */
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
}

/** `host:port`; '' switches the listener off. */
export function address(doc: string, fallback: string, more: More = {}) {
  const expects = 'an address such as 127.0.0.1:8080 or [::1]:8080, or "" for off';
  const schema = z.pipe(
    textOf(expects, /^(?:|(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):\d{1,5})$/),
    z.transform((written, context): Address | undefined => {
      if (written === '') return undefined;
      const colon = written.lastIndexOf(':');
      const port = Number(written.slice(colon + 1));
      if (port > 65_535) context.issues.push({ code: 'custom', message: 'has a port above 65535', input: written });
      return { host: written.slice(0, colon).replace(/^\[|\]$/g, ''), port };
    }),
  );
  return noted(schema, fallback, { doc, text: 'plain', expects, ...more });
}

/** File mode bits, written as text because YAML reads 0660 as another number. */
export function fileMode(doc: string, fallback: string) {
  const expects = 'a file mode in quotes without rights for others, for instance "0660"';
  const schema = z.pipe(
    textOf(expects, /^0?[0-7]{2}0$/),
    z.transform((written) => Number.parseInt(written, 8)),
  );
  return noted(schema, fallback, { doc, text: 'plain', expects });
}

/** A secret: never written down here, only where to find it. The loader puts a `Secret` in the place of the reference. */
export function secret(doc: string, more: More = {}) {
  const expects = '{ file: PATH } or { env: NAME }: a secret is not written into settings';
  const schema = z.instanceof(Secret, { error: () => `must be ${expects}` });
  return z.optional(schema).register(notes, { doc, text: 'secret', expects, ...more });
}

/** A group of settings. Unknown keys are refused. */
export function section<T extends z.core.$ZodLooseShape>(doc: string, shape: T) {
  const schema = z.strictObject(shape, {
    error: (issue) => (issue.code === 'invalid_type' ? wrong('a section')(issue) : undefined),
  });
  return z.prefault(schema, {} as never).register(sectionDocs, { doc });
}
