import { isOpaqueToken, opaqueToken } from './opaque-token.ts';

/** A new token of a trusted device from 32 random bytes: `spd_`, 43 digits, 6 of checksum (domain/opaque-token.ts). */
export function newDeviceToken(random: Uint8Array): string {
  return opaqueToken('spd_', random);
}

/** Whether the text has the form and the checksum of a device token; says nothing about whether it exists. */
export function isDeviceToken(text: string): boolean {
  return isOpaqueToken('spd_', text);
}
