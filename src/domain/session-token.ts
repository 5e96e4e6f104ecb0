import { isOpaqueToken, opaqueToken } from './opaque-token.ts';

/** A new session token from 32 random bytes: `sps_`, 43 digits, 6 of checksum (domain/opaque-token.ts). */
export function newSessionToken(random: Uint8Array): string {
  return opaqueToken('sps_', random);
}

/** Whether the text has the form and the checksum of a session token; says nothing about whether it exists. */
export function isSessionToken(text: string): boolean {
  return isOpaqueToken('sps_', text);
}
