/** A telephone number that can be of a mobile phone, as its numbering plan has it. Plain data. */
export interface PhoneNumber {
  /** ITU-T E.164: `+` and up to 15 digits. */
  readonly e164: string;
  /** ISO 3166-1 alpha-2; '' for numbers of no country, such as satellite phones. */
  readonly country: string;
}

/** How many of the last digits may differ within a prefix: pumping goes through a range in order. */
const RANGE_DIGITS = 3;
const SHOWN_DIGITS = 2;
/** Fewer digits than this are no telephone number, whoever's it is. */
const TELLING_DIGITS = 7;

/**
 * Whether the text can be an international number as people write it: `+`, ASCII digits, blanks, dots, hyphens and
 * brackets. No extension, no letters, nothing in front or behind.
 */
export function looksInternational(text: string): boolean {
  return text.length <= 32 && /^\+[0-9](?:[ .()-]{0,2}[0-9]){5,14}$/.test(text);
}

/** As callers may see it: the last two digits. The length is not shown. */
export function maskNumber(e164: string): string {
  return `${'•'.repeat(6)}${e164.slice(-SHOWN_DIGITS)}`;
}

/** What all numbers of a range have in common. */
export function prefixOf(e164: string): string {
  return e164.slice(0, -RANGE_DIGITS);
}

/** Whether text that is shown would give the number away, however it is written. */
export function tells(text: string, e164: string): boolean {
  const digits = text.normalize('NFKC').replaceAll(/[^0-9]/g, '');
  return digits.includes(e164.slice(-TELLING_DIGITS));
}
