import { timingSafeEqual } from 'node:crypto';

/**
 * Backup codes: 16 symbols of Crockford's base32, printed `xxxx-xxxx-xxxx-xxxx`. The first three find the row, so that a
 * guess costs at most one slow hash; the other thirteen are the secret (65 bits).
 */
export interface BackupCode {
  readonly selector: string;
  readonly secret: string;
}

/** How many codes make a set. */
export const BACKUP_CODES = 10;

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const SYMBOLS = 16;
const SELECTOR_SYMBOLS = 3;
/** Two of ten selectors out of 32,768 rarely meet; a source that keeps repeating itself is broken. */
const MAX_DRAWS = 100;

/** A new set. `bytes` answers that many random bytes. 32 symbols divide 256, so no byte has to be rejected. */
export function newBackupCodes(bytes: (length: number) => Uint8Array): readonly BackupCode[] {
  const codes = new Map<string, BackupCode>();
  for (let draw = 0; codes.size < BACKUP_CODES; draw += 1) {
    if (draw === MAX_DRAWS) throw new RangeError('the source of randomness repeats itself');
    const symbols = Array.from(bytes(SYMBOLS), (byte) => ALPHABET.charAt(byte & 31)).join('');
    const code = splitCode(symbols);
    if (!codes.has(code.selector)) codes.set(code.selector, code);
  }
  return [...codes.values()];
}

/** As people see it. */
export function printBackupCode(code: BackupCode): string {
  const symbols = `${code.selector}${code.secret}`;
  return [0, 4, 8, 12].map((start) => symbols.slice(start, start + 4)).join('-');
}

/**
 * Reads what a person typed: upper or lower case, hyphens between the groups or not, and the letters that Crockford
 * reads as digits (o as 0; i and l as 1). undefined for anything else; no blank is trimmed.
 */
export function parseBackupCode(text: string): BackupCode | undefined {
  if (!/^[0-9A-Za-z]{4}(-?[0-9A-Za-z]{4}){3}$/.test(text)) return undefined;
  const symbols = text.replaceAll('-', '').toLowerCase().replaceAll('o', '0').replaceAll(/[il]/g, '1');
  return symbols.includes('u') ? undefined : splitCode(symbols);
}

/** Compares hashes of codes in constant time. */
export function isSameHash(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function splitCode(symbols: string): BackupCode {
  return { selector: symbols.slice(0, SELECTOR_SYMBOLS), secret: symbols.slice(SELECTOR_SYMBOLS) };
}
