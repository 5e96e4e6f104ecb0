import { describe, expect, it } from 'vitest';
import { looksInternational, maskNumber, prefixOf, tells } from '#src/domain/phone-number.ts';

const NUMBER = '+14155552671';

describe('a phone number', () => {
  it('is shown by its last two digits, and not by how long it is', () => {
    expect(maskNumber(NUMBER)).toBe('••••••71');
    expect(maskNumber('+4915112345678')).toBe('••••••78');
  });

  it('has a prefix that a range of a thousand shares', () => {
    expect(prefixOf(NUMBER)).toBe('+14155552');
    expect(prefixOf('+14155552000')).toBe(prefixOf('+14155552999'));
    expect(prefixOf('+14155553000')).not.toBe(prefixOf(NUMBER));
  });

  it.each(['+14155552671', '+1 (415) 555-2671', '+49 151 123 456 78', '+1.415.555.2671'])('is written %s', (text) =>
    expect(looksInternational(text)).toBe(true),
  );

  it.each([
    '',
    '+',
    '4155552671',
    '0014155552671',
    ' +14155552671',
    '+14155552671 ',
    '+14155552671\n',
    '+1415555267１',
    '+14155552671;ext=5',
    '+14155552671x5',
    '+14155552671,+14155552672',
    'tel:+14155552671',
    '+1415(((((5552671',
    `+${'1'.repeat(40)}`,
  ])('is not written %j', (text) => expect(looksInternational(text)).toBe(false));

  it.each([NUMBER, '415-555-2671', 'my phone 555 2671', 'phone 5.5.5.2.6.7.1', '５５５２６７１', 'a14155552671b'])(
    'is told by the name %j',
    (name) => expect(tells(name, NUMBER)).toBe(true),
  );

  it.each(['', 'Phone', 'My 2nd phone', '••••••71', 'ends in 2671', 'phone 2026-11-22'])(
    'is not told by the name %j',
    (name) => expect(tells(name, NUMBER)).toBe(false),
  );
});
