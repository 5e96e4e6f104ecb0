import type { Method } from './method.ts';
import type { EpochMs } from './time.ts';

export type FactorState = 'PENDING' | 'ACTIVE';

/** A factor as stored. Plain data. */
export interface Factor {
  readonly id: string;
  readonly realm: string;
  readonly subject: string;
  readonly method: Method;
  readonly displayName: string;
  readonly state: FactorState;
  /** TOTP: the seed, sealed by SecretBox and bound to this row by `secretBinding`. Empty for backup codes. */
  readonly sealedSecret: Uint8Array;
  /** TOTP: the last accepted time step (RFC 6238 section 5.2); -1 before the first. */
  readonly lastStep: number;
  /** TOTP: steps by which the device's clock is off, from the last resynchronisation. */
  readonly driftSteps: number;
  /** The factor that this one replaces when it is confirmed; '' if none. */
  readonly replaces: string;
  readonly createdAt: EpochMs;
  /** PENDING: when the enrolment lapses. */
  readonly expiresAt: EpochMs;
  readonly confirmedAt?: EpochMs;
  readonly lastUsedAt?: EpochMs;
  /** Backup codes: how many are unused. */
  readonly codesLeft: number;
}

/** One backup code as stored. */
export interface BackupCodeHash {
  readonly id: string;
  /** The part of the code that finds the row, so that a guess costs at most one slow hash. */
  readonly selector: string;
  readonly salt: Uint8Array;
  /** scrypt of the keyed digest of the secret part. */
  readonly hash: Uint8Array;
}

export interface Consent {
  readonly id: string;
  readonly method: Method;
  readonly textVersion: string;
  readonly language: string;
  readonly grantedAt: EpochMs;
}

/** A factor as callers may see it. */
export type FactorSummary = Pick<
  Factor,
  'id' | 'method' | 'displayName' | 'state' | 'createdAt' | 'confirmedAt' | 'lastUsedAt' | 'codesLeft'
>;

export function summaryOf(factor: Factor): FactorSummary {
  const { id, method, displayName, state, createdAt, confirmedAt, lastUsedAt, codesLeft } = factor;
  return {
    id,
    method,
    displayName,
    state,
    createdAt,
    ...(confirmedAt === undefined ? {} : { confirmedAt }),
    ...(lastUsedAt === undefined ? {} : { lastUsedAt }),
    codesLeft,
  };
}

/** What a factor's secret is sealed to: its own row, so that the secrets of two people cannot be swapped. */
export function secretBinding(factor: Pick<Factor, 'id' | 'realm' | 'subject'>) {
  return { purpose: 'factor.secret', realm: factor.realm, subject: factor.subject, id: factor.id };
}
