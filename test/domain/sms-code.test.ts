import { describe, expect, it } from 'vitest';
import { isSmsCode, newSmsCode } from '#src/domain/sms-code.ts';

/** A source that answers the given draws one after the other. */
function source(...draws: readonly number[]) {
  const left = [...draws];
  return (length: number) => {
    const draw = left.shift();
    if (draw === undefined || length !== 3) throw new Error('asked for more than there is');
    return Uint8Array.of(draw >> 16, (draw >> 8) & 255, draw & 255);
  };
}

describe('a code for SMS', () => {
  it('is six digits, with zeros in front', () => {
    expect(newSmsCode(source(0))).toBe('000000');
    expect(newSmsCode(source(7))).toBe('000007');
    expect(newSmsCode(source(999_999))).toBe('999999');
    expect(newSmsCode(source(1_000_000))).toBe('000000');
  });

  it('favours none: draws beyond the last full million are thrown away', () => {
    expect(newSmsCode(source(15_999_999))).toBe('999999');
    expect(newSmsCode(source(16_000_000, 0xffffff, 42))).toBe('000042');
  });

  it('is not made from a source that answers nothing usable', () => {
    expect(() => newSmsCode(() => Uint8Array.of(255, 255, 255))).toThrow(RangeError);
  });

  it.each([
    '',
    '12345',
    '1234567',
    '12345 ',
    ' 123456',
    '123 456',
    '12345\n',
    '１２３４５６',
    '١٢٣٤٥٦',
    '-12345',
    '1e5000',
  ])('has not the form of %j', (text) => expect(isSmsCode(text)).toBe(false));

  it('may end in no line feed', () => {
    expect(isSmsCode('123456')).toBe(true);
    expect(isSmsCode('123456\n')).toBe(false);
  });
});
