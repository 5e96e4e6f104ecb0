import { expect, it } from 'vitest';
import { newTemporaryPass, PASS_BYTES, parseTemporaryPass, passDigestInput } from '#src/domain/temporary-pass.ts';
import { SeededRandom } from '../support/random.ts';

it('is 80 bits in 16 symbols without look-alikes, and no two are the same', () => {
  const random = new SeededRandom('passes');
  const passes = Array.from({ length: 1_000 }, () => newTemporaryPass(random.bytes(PASS_BYTES)));
  for (const { printed, symbols } of passes) {
    expect(printed).toMatch(/^[0-9a-hjkmnp-tv-z]{4}(-[0-9a-hjkmnp-tv-z]{4}){3}$/);
    expect(printed.replaceAll('-', '')).toBe(symbols);
  }
  expect(new Set(passes.map(({ symbols }) => symbols)).size).toBe(1_000);
  expect(() => newTemporaryPass(new Uint8Array(8))).toThrow(RangeError);
});

it('is read as people type it, and nothing else is read as a pass', () => {
  expect(parseTemporaryPass('0123-4567-89AB-CDEF')).toBe('0123456789abcdef');
  expect(parseTemporaryPass('oil3-4567-89ab-cdef')).toBe('0113456789abcdef');
  expect(parseTemporaryPass('0123456789abcdef')).toBe('0123456789abcdef');
  for (const text of ['', ' 0123-4567-89ab-cdef', '0123-4567-89ab-cdeu', '0123-4567-89ab', `${'0'.repeat(17)}`]) {
    expect(parseTemporaryPass(text)).toBeUndefined();
  }
});

it('is digested for one person of one realm', () => {
  const inputs = [
    passDigestInput('a', 'b', 'c'),
    passDigestInput('a', 'bc', ''),
    passDigestInput('ab', '', 'c'),
    passDigestInput('a', 'b', 'd'),
    passDigestInput('a', 'x', 'c'),
    passDigestInput('x', 'b', 'c'),
  ];
  expect(new Set(inputs).size).toBe(6);
});
