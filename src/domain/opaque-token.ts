import { hash } from 'node:crypto';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const SECRET_BYTES = 32;
/** 62^43 is the first power of 62 above 2^256. */
const SECRET_LENGTH = 43;
/** 62^6 is the first power of 62 above 2^32. */
const CHECKSUM_LENGTH = 6;
const FORM = new RegExp(`^[0-9A-Za-z]{${SECRET_LENGTH + CHECKSUM_LENGTH}}$`);

/** The prefix says what a leaked token opens: a session, or a trusted device. */
export type TokenPrefix = 'sps_' | 'spd_';

/**
 * A token from 32 random bytes: the prefix, the bytes as 43 base62 digits, and the CRC-32 of those digits as 6 base62
 * digits. Prefix and checksum let scanners of source code and logs find a leaked token without asking anybody.
 */
export function opaqueToken(prefix: TokenPrefix, random: Uint8Array): string {
  if (random.length !== SECRET_BYTES) throw new RangeError('a token is made from 32 random bytes');
  const secret = base62(BigInt(`0x${Buffer.from(random).toString('hex')}`), SECRET_LENGTH);
  return `${prefix}${secret}${checksumOf(secret)}`;
}

/** Whether the text has the form and the checksum of such a token; says nothing about whether it exists. */
export function isOpaqueToken(prefix: TokenPrefix, text: string): boolean {
  const digits = text.slice(prefix.length);
  if (!text.startsWith(prefix) || !FORM.test(digits)) return false;
  return checksumOf(digits.slice(0, SECRET_LENGTH)) === digits.slice(SECRET_LENGTH);
}

/** SHA-256 of the whole token, base64url: what stores and caches know it by. */
export function tokenDigest(token: string): string {
  return hash('sha256', token, 'base64url');
}

function base62(value: bigint, length: number): string {
  let text = '';
  for (let rest = value; rest > 0n; rest /= 62n) text = ALPHABET.charAt(Number(rest % 62n)) + text;
  return text.padStart(length, '0');
}

function checksumOf(secret: string): string {
  let rest = crc32(secret);
  let text = '';
  for (let digit = 0; digit < CHECKSUM_LENGTH; digit++) {
    text = ALPHABET.charAt(rest % 62) + text;
    rest = Math.floor(rest / 62);
  }
  return text;
}

/** CRC-32 of ISO 3309 (the one of gzip and PNG), by the table of RFC 1952 section 8. */
const CRC_TABLE = Int32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(ascii: string): number {
  let crc = -1;
  for (let index = 0; index < ascii.length; index++) {
    crc = (CRC_TABLE[(crc ^ ascii.charCodeAt(index)) & 0xff] ?? 0) ^ (crc >>> 8);
  }
  return (crc ^ -1) >>> 0;
}
