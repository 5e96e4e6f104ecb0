import type { EpochMs } from './time.ts';

export type DeviceRevocation = 'REVOKED' | 'EVICTED' | 'TOKEN_REUSED' | 'FACTOR_CHANGE' | 'RESET' | 'NOT_ME';

/** A browser that was remembered after a full MFA, as stored. Plain data. */
export interface TrustedDevice {
  readonly id: string;
  readonly realm: string;
  readonly subject: string;
  /** base64url SHA-256 of the token in use. */
  readonly tokenDigest: string;
  readonly displayName: string;
  /** Address, browser and system it was trusted from, as JSON, sealed and bound by `deviceBinding`. */
  readonly sealedConnection: Uint8Array;
  readonly createdAt: EpochMs;
  readonly lastUsedAt: EpochMs;
  /** Never moves, whatever is used. */
  readonly expiresAt: EpochMs;
}

/** What the connection of a device is sealed to. */
export function deviceBinding(device: Pick<TrustedDevice, 'id' | 'realm' | 'subject'>) {
  return { purpose: 'device.connection', realm: device.realm, subject: device.subject, id: device.id };
}
