/** Codes that people type: 16 symbols of Crockford's base32 in lower case, printed in groups of four. */

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
export const SYMBOLS = 16;

/** One symbol a byte. 32 symbols divide 256, so no byte has to be rejected. */
export function symbolsFrom(random: Uint8Array): string {
  return Array.from(random, (byte) => ALPHABET.charAt(byte & 31)).join('');
}

/** As people see it: `xxxx-xxxx-xxxx-xxxx`. */
export function groupsOfFour(symbols: string): string {
  return [0, 4, 8, 12].map((start) => symbols.slice(start, start + 4)).join('-');
}

/**
 * Reads what a person typed: upper or lower case, hyphens between the groups or not, and the letters that Crockford
 * reads as digits (o as 0; i and l as 1). undefined for anything else; no blank is trimmed.
 */
export function canonicalSymbols(text: string): string | undefined {
  if (!/^[0-9A-Za-z]{4}(-?[0-9A-Za-z]{4}){3}$/.test(text)) return undefined;
  const symbols = text.replaceAll('-', '').toLowerCase().replaceAll('o', '0').replaceAll(/[il]/g, '1');
  return symbols.includes('u') ? undefined : symbols;
}
