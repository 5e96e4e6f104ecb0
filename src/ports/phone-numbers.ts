import type { PhoneNumber } from '../domain/phone-number.ts';

/** Knows the numbering plans of the world. */
export interface PhoneNumbers {
  /**
   * Reads a number in international form. Undefined for whatever is no complete number, has an extension, or surely is
   * not of a mobile phone.
   */
  read(text: string): Promise<PhoneNumber | undefined>;
}
