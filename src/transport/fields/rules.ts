import { type IdKind, isId } from '../../domain/ids.ts';

/** How one field must look. Being unset is always allowed here; `required` of the message says otherwise. */
export type FieldRule =
  | { readonly kind: 'text'; readonly maxBytes: number; readonly form?: TextForm }
  | { readonly kind: 'bytes'; readonly maxBytes: number }
  | { readonly kind: 'number'; readonly min: number; readonly max: number }
  | { readonly kind: 'list'; readonly maxCount: number; readonly item?: FieldRule }
  | { readonly kind: 'map'; readonly maxCount: number; readonly key: FieldRule; readonly value: FieldRule };

/** What a text must be, in words that complete "must …", and the test for it. */
export interface TextForm {
  readonly words: string;
  readonly test: (text: string) => boolean;
}

/** The rules of a message. Nested messages are checked by their own rules, enums by their known values. */
export interface MessageRules {
  /** Fields and oneofs that must be set: text not empty, messages present, enums not UNSPECIFIED. */
  readonly required?: readonly string[];
  readonly fields: Readonly<Record<string, FieldRule>>;
  /** Required only in some requests. */
  readonly requiredWhen?: readonly {
    readonly field: string;
    readonly words: string;
    readonly when: (message: Readonly<Record<string, unknown>>) => boolean;
  }[];
}

const matches = (words: string, pattern: RegExp): TextForm => ({ words, test: (text) => pattern.test(text) });

const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;
/** Nothing that cannot be seen, so that two names that look alike to people differ only by letters. */
export const printable: TextForm = {
  words: 'have no control or invisible characters',
  test: (text) => /^[\x20-\x7e]*$/.test(text) || !UNSEEN.test(text),
};

/** Line breaks and tabs are fine, other control characters are not. */
export const multiline: TextForm = {
  words: 'have no control characters but line breaks and tabs',
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point.
  test: (text) => !/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(text),
};

export const text = (maxBytes: number, form?: TextForm): FieldRule =>
  form ? { kind: 'text', maxBytes, form } : { kind: 'text', maxBytes };
export const bytes = (maxBytes: number): FieldRule => ({ kind: 'bytes', maxBytes });
export const number = (min: number, max: number): FieldRule => ({ kind: 'number', min, max });
export const list = (maxCount: number, item?: FieldRule): FieldRule =>
  item ? { kind: 'list', maxCount, item } : { kind: 'list', maxCount };
export const map = (maxCount: number, key: FieldRule, value: FieldRule): FieldRule => ({
  kind: 'map',
  maxCount,
  key,
  value,
});

/** An id of ours; only its form is looked at. */
export const id = (kind: IdKind): FieldRule =>
  text(64, { words: `be a ${kind} id as this API gave it out`, test: (value) => isId(kind, value) });

export const oneOf = (...values: readonly string[]): FieldRule =>
  text(64, { words: `be one of ${values.join(', ')}`, test: (value) => values.includes(value) });

export const uuid: FieldRule = text(
  36,
  matches('be a UUID', /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i),
);

/** BCP 47, by its characters only. */
export const languageTag: FieldRule = text(35, matches('be a BCP 47 language tag', /^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$/));

export const eventType: FieldRule = text(
  64,
  matches('be an event type, or its beginning and `*`', /^(\*|[a-z_.]+\*?)$/),
);

export const accountName: FieldRule = text(128, {
  words: 'be printable and have no colon',
  test: (value) => !value.includes(':') && printable.test(value),
});
