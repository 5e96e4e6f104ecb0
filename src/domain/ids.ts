/**
 * Opaque ids: a prefix that names the kind, and 128 random bits in lower-case Crockford base32. They are handles, not
 * secrets, and never come from a caller.
 */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

export type IdKind =
  | 'challenge'
  | 'factor'
  | 'session'
  | 'event'
  | 'receipt'
  | 'consent'
  | 'chain'
  | 'key'
  | 'code'
  | 'device'
  | 'delivery';

const PREFIX: Readonly<Record<IdKind, string>> = {
  challenge: 'chl',
  factor: 'fac',
  session: 'ses',
  event: 'evt',
  receipt: 'rcp',
  consent: 'cns',
  chain: 'chn',
  key: 'key',
  code: 'bkc',
  delivery: 'dlv',
  device: 'dev',
};

/** Crockford base32 (lower case, no padding) of any bytes. */
export function base32(bytes: Uint8Array): string {
  let text = '';
  let buffer = 0;
  let bits = 0;
  for (const byte of bytes) {
    buffer = ((buffer << 8) | byte) & 0xffff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += ALPHABET.charAt((buffer >> bits) & 31);
    }
  }
  if (bits > 0) text += ALPHABET.charAt((buffer << (5 - bits)) & 31);
  return text;
}

/** A new id from 16 random bytes. */
export function newId(kind: IdKind, random: Uint8Array): string {
  if (random.length !== 16) throw new RangeError('an id is made from 16 random bytes');
  return `${PREFIX[kind]}_${base32(random)}`;
}

/** Whether a caller's text has the form of an id of this kind; says nothing about whether it exists. */
export function isId(kind: IdKind, text: string): boolean {
  return (
    text.length === PREFIX[kind].length + 27 &&
    text.startsWith(`${PREFIX[kind]}_`) &&
    /^[0-9a-hjkmnp-tv-z]+$/.test(text.slice(4))
  );
}
