/** Codes that go out by SMS: six decimal digits, each of the million as likely as the next. */
const DIGITS = 6;
const CODES = 10 ** DIGITS;
const DRAW_BYTES = 3;
/** Draws from here on are thrown away: the rest of 2^24 that is no multiple of a million would favour low codes. */
const FAIR = Math.floor(2 ** (8 * DRAW_BYTES) / CODES) * CODES;
/** One draw of 22 is thrown away; a source that has this many in a row is broken. */
const MAX_DRAWS = 64;

/** A new code. `bytes` answers that many random bytes. */
export function newSmsCode(bytes: (length: number) => Uint8Array): string {
  for (let draw = 0; draw < MAX_DRAWS; draw += 1) {
    const [a = 0, b = 0, c = 0] = bytes(DRAW_BYTES);
    const value = (a << 16) | (b << 8) | c;
    if (value < FAIR) return String(value % CODES).padStart(DIGITS, '0');
  }
  throw new RangeError('the source of randomness answers nothing usable');
}

/** Whether what was typed has the form of a code: exactly six ASCII digits. */
export function isSmsCode(text: string): boolean {
  return /^[0-9]{6}$/.test(text);
}
