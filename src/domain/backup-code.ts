import { canonicalSymbols, groupsOfFour, SYMBOLS, symbolsFrom } from './code-symbols.ts';

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

const SELECTOR_SYMBOLS = 3;
/** Two of ten selectors out of 32,768 rarely meet; a source that keeps repeating itself is broken. */
const MAX_DRAWS = 100;

/** A new set. `bytes` answers that many random bytes. */
export function newBackupCodes(bytes: (length: number) => Uint8Array): readonly BackupCode[] {
  const codes = new Map<string, BackupCode>();
  for (let draw = 0; codes.size < BACKUP_CODES; draw += 1) {
    if (draw === MAX_DRAWS) throw new RangeError('the source of randomness repeats itself');
    const code = splitCode(symbolsFrom(bytes(SYMBOLS)));
    if (!codes.has(code.selector)) codes.set(code.selector, code);
  }
  return [...codes.values()];
}

/** As people see it. */
export function printBackupCode(code: BackupCode): string {
  return groupsOfFour(`${code.selector}${code.secret}`);
}

/** Reads what a person typed (domain/code-symbols.ts); undefined for anything that is no code. */
export function parseBackupCode(text: string): BackupCode | undefined {
  const symbols = canonicalSymbols(text);
  return symbols === undefined ? undefined : splitCode(symbols);
}

function splitCode(symbols: string): BackupCode {
  return { selector: symbols.slice(0, SELECTOR_SYMBOLS), secret: symbols.slice(SELECTOR_SYMBOLS) };
}
