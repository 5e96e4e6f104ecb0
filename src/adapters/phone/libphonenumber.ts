import { parsePhoneNumberFromString } from 'libphonenumber-js/mobile';
import type { PhoneNumber } from '#src/domain/phone-number.ts';

/**
 * Reads a number by the metadata of mobile numbers: fixed lines, freephone, premium and personal numbers are not valid
 * there, numbers of plans that do not tell mobile from fixed are.
 */
export function readMobileNumber(text: string): PhoneNumber | undefined {
  const number = parsePhoneNumberFromString(text, { extract: false });
  if (!number?.isValid() || number.ext !== undefined) return undefined;
  return { e164: number.number, country: number.country ?? '' };
}
