/** Controls, format characters (direction overrides among them), line and paragraph separators, and the escape itself. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\\]/gu;
/** What nearly every value is: printable ASCII without the escape. */
const PLAIN = /^[ -[\]-~]*$/;

/** The longest value of an event, in bytes of UTF-8. */
export const MAX_VALUE_BYTES = 512;

/**
 * A value as it may enter the trail: one line, nothing that a terminal or a log viewer obeys, valid Unicode, at most
 * `maxBytes` of UTF-8; '' for an absent one. Unsafe characters become `\u{hex}`, a backslash `\\`; a cut ends with `…`.
 */
export function plainText(value: string | undefined, maxBytes = MAX_VALUE_BYTES): string {
  if (!value) return '';
  if (value.length <= maxBytes && PLAIN.test(value)) return value;
  // No more than this can survive the cut, so a huge value costs no more than a long one.
  const head = value.length > maxBytes ? value.slice(0, maxBytes) : value;
  const plain = head.toWellFormed().replace(UNSAFE, escaped);
  const complete = head.length === value.length;
  if (complete && (plain.length * 3 <= maxBytes || Buffer.byteLength(plain) <= maxBytes)) return plain;
  return `${cut(plain, maxBytes - 3)}…`;
}

function escaped(character: string): string {
  return character === '\\' ? '\\\\' : `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}

/** Whole code points only. */
function cut(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text, 'utf8');
  let end = Math.min(maxBytes, bytes.length);
  while (end > 0 && end < bytes.length && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return bytes.toString('utf8', 0, end);
}
