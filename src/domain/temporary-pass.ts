import { canonicalSymbols, groupsOfFour, SYMBOLS, symbolsFrom } from './code-symbols.ts';

/**
 * The pass that an operator hands to somebody who was reset: 16 symbols of Crockford's base32 (80 bits), printed
 * `xxxx-xxxx-xxxx-xxxx`, read as generously as a backup code. It permits one first enrolment.
 */
export interface TemporaryPassText {
  readonly printed: string;
  /** What digests are made of. */
  readonly symbols: string;
}

/** How many random bytes make a pass. */
export const PASS_BYTES = SYMBOLS;

export function newTemporaryPass(random: Uint8Array): TemporaryPassText {
  if (random.length !== PASS_BYTES) throw new RangeError(`a pass is made from ${PASS_BYTES} random bytes`);
  const symbols = symbolsFrom(random);
  return { printed: groupsOfFour(symbols), symbols };
}

/** The symbols of what a person typed; undefined for anything that is no pass. No blank is trimmed. */
export function parseTemporaryPass(typed: string): string | undefined {
  return canonicalSymbols(typed);
}

/** What a stored digest of a pass is made of: it is worth nothing for another person. */
export function passDigestInput(realm: string, subject: string, symbols: string): string {
  return JSON.stringify([realm, subject, symbols]);
}
