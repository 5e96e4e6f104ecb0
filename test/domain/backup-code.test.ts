import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newBackupCodes, parseBackupCode, printBackupCode } from '#src/domain/backup-code.ts';
import { SeededRandom } from '../support/random.ts';

const random = new SeededRandom('backup codes');
const bytes = (length: number) => random.bytes(length);

describe('backup codes', () => {
  it('come ten at a time, and 10,000 of them have the right form and never repeat', () => {
    const printed = new Set<string>();
    const symbols = new Map<string, number>();
    for (let set = 0; set < 1_000; set += 1) {
      const codes = newBackupCodes(bytes);
      expect(codes).toHaveLength(10);
      expect(new Set(codes.map(({ selector }) => selector)).size).toBe(10);
      for (const code of codes) {
        const text = printBackupCode(code);
        expect(text).toMatch(/^[0-9a-hjkmnp-tv-z]{4}(-[0-9a-hjkmnp-tv-z]{4}){3}$/);
        printed.add(text);
        for (const symbol of code.secret) symbols.set(symbol, (symbols.get(symbol) ?? 0) + 1);
      }
    }
    expect(printed.size).toBe(10_000);
    // 130,000 symbols over 32: 4,062 each, give or take 63; six deviations leave no room for a biased mapping.
    expect(symbols.size).toBe(32);
    for (const count of symbols.values()) expect(Math.abs(count - 130_000 / 32)).toBeLessThan(380);
  });

  it('are found by three symbols and keep thirteen secret', () => {
    for (const code of newBackupCodes(bytes)) {
      expect([code.selector.length, code.secret.length]).toEqual([3, 13]);
      expect(printBackupCode(code).replaceAll('-', '')).toBe(`${code.selector}${code.secret}`);
    }
  });

  it('draw again where two selectors are the same', () => {
    const draws = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((start) => Uint8Array.from({ length: 16 }, () => start));
    const codes = newBackupCodes(() => draws.shift() ?? new Uint8Array());
    expect(codes.map(({ selector }) => selector)).toEqual([
      '000',
      '111',
      '222',
      '333',
      '444',
      '555',
      '666',
      '777',
      '888',
      '999',
    ]);
  });

  it('are not made from a source that repeats itself', () => {
    expect(() => newBackupCodes((length) => new Uint8Array(length))).toThrow(RangeError);
  });

  it('are read as printed, in capitals, and without hyphens', () => {
    for (const code of newBackupCodes(bytes)) {
      const text = printBackupCode(code);
      for (const typed of [text, text.toUpperCase(), text.replaceAll('-', ''), text.replace('-', '')]) {
        expect(parseBackupCode(typed)).toEqual(code);
      }
    }
  });

  it('read o as 0 and i and l as 1, as Crockford does', () => {
    expect(parseBackupCode('0oO1-iIlL-abcd-0000')).toEqual(parseBackupCode('0001-1111-abcd-0000'));
  });

  it.each([
    '',
    '0000-0000-0000-000',
    '0000-0000-0000-00000',
    '0000--0000-0000-000',
    '-0000-0000-0000-0000',
    '0000-0000-0000-0000-',
    '000-00000-0000-0000',
    ' 0000-0000-0000-0000',
    '0000-0000-0000-0000\n',
    '0000 0000 0000 0000',
    '0000–0000–0000–0000',
    '0000-0000-0000-000u',
    '0000-0000-0000-000U',
    '0000-0000-0000-000\u017f',
    '0000-0000-0000-000\u212a',
    '0000-0000-0000-000０',
  ])('are not read from %j', (text) => {
    expect(parseBackupCode(text)).toBeUndefined();
  });

  it('read nothing from any other text, and never throw', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
        const code = parseBackupCode(text);
        if (code) expect(text.replaceAll('-', '')).toMatch(/^[0-9a-tv-zA-TV-Z]{16}$/);
      }),
    );
  });
});
