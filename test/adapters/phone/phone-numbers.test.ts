import { describe, expect, it } from 'vitest';
import { readMobileNumber } from '#src/adapters/phone/libphonenumber.ts';
import { phoneNumbers } from '#src/adapters/phone/phone-numbers.ts';

describe('numbering plans', () => {
  it.each([
    ['+1 (415) 555-2671', '+14155552671', 'US'],
    ['+491701234567', '+491701234567', 'DE'],
    ['+447400123456', '+447400123456', 'GB'],
    ['+447911123456', '+447911123456', 'GG'],
    ['+33 6 12 34 56 78', '+33612345678', 'FR'],
    ['+39 347 1234567', '+393471234567', 'IT'],
    ['+16135550132', '+16135550132', 'CA'],
    ['+870773111632', '+870773111632', ''],
  ])('read %s as %s of %s', async (text, e164, country) => {
    expect(await phoneNumbers.read(text)).toEqual({ e164, country });
  });

  it.each([
    ['a fixed line', '+4930123456'],
    ['a fixed line of a country that tells them apart', '+33123456789'],
    ['freephone', '+18005551234'],
    ['premium rate', '+19005551234'],
    ['a personal number, which costs like premium rate', '+447012345678'],
    ['a number that is too short', '+1415555267'],
    ['a number that is too long', '+141555526711'],
    ['a country code that nobody has', '+9991234567'],
    ['an extension', '+16502530000;ext=2'],
    ['digits of another script', '+1٤١٥٥٥٥٢٦٧١'],
    ['a national number', '4155552671'],
    ['text around it', 'call +14155552671'],
    ['a second number behind it', '+14155552671 +491701234567'],
    ['nothing', ''],
  ])('do not take %s', async (_, text) => {
    expect(await phoneNumbers.read(text)).toBeUndefined();
  });

  it('read no extension, however it is written', () => {
    for (const text of ['+16502530000;ext=2', '+16502530000x2', '+1 650 253 0000 ext. 2']) {
      expect(readMobileNumber(text)).toBeUndefined();
    }
    expect(readMobileNumber('+16502530000')).toBeDefined();
  });
});
