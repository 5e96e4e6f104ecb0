/** How many digits a number to be typed on the device has: 6 in the `nist` profile. */
export type PushDigits = 2 | 6;

/** A number without leading zeros (10 to 99, 100000 to 999999) from 8 or more bytes of chance; none is likelier by more than 2⁻⁴⁰. */
export function pushNumber(chance: Uint8Array, digits: PushDigits): string {
  if (chance.length < 8) throw new RangeError('a push number is made from at least 8 bytes');
  const least = 10n ** BigInt(digits - 1);
  return String(least + (Buffer.from(chance).readBigUInt64BE() % (9n * least)));
}

/** Whether what was typed has the form of one; nothing is trimmed. */
export function isPushNumber(text: string, digits: PushDigits): boolean {
  return text.length === digits && /^[1-9][0-9]*$/.test(text);
}
