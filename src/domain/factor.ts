import type { Method } from './method.ts';
import type { EpochMs } from './time.ts';

export type FactorState = 'PENDING' | 'ACTIVE';

/** Why a factor that somebody holds proves nothing for now. */
export type FreezeReason = 'NOT_ME' | 'CONSENT_WITHDRAWN' | 'ENDPOINT_GONE';

/** A factor as stored. Plain data. */
export interface Factor {
  readonly id: string;
  readonly realm: string;
  readonly subject: string;
  readonly method: Method;
  readonly displayName: string;
  readonly state: FactorState;
  /**
   * Sealed by SecretBox and bound to this row by `secretBinding`. TOTP: the seed. SMS: the number in E.164. Push: the
   * subscription and the device's public key. WebAuthn: the credential. Empty for backup codes, and for WebAuthn and
   * push while the browser has not made it yet.
   */
  readonly sealedSecret: Uint8Array;
  /** TOTP: the last accepted time step (RFC 6238 section 5.2); -1 before the first. */
  readonly lastStep: number;
  /** TOTP: steps by which the device's clock is off, from the last resynchronisation. */
  readonly driftSteps: number;
  /** WebAuthn: the last signature counter; 0 for authenticators that do not count. */
  readonly signCount?: number;
  /** Keyed digest of what nobody else in the realm may enrol as well: a credential id, a push endpoint. */
  readonly uniqueDigest?: Uint8Array;
  /** ACTIVE, but it proves nothing for now. */
  readonly freezeReason?: FreezeReason;
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

/** A person's agreement to a method. */
export interface Consent {
  readonly id: string;
  readonly method: Method;
  readonly textVersion: string;
  /** BCP 47. */
  readonly language: string;
  readonly grantedAt: EpochMs;
  /** Absent while it stands. */
  readonly withdrawnAt?: EpochMs;
  /** From which address it was given, sealed and bound by `consentBinding`; absent when unknown. */
  readonly sealedAddress?: Uint8Array;
}

/** A factor as callers may see it. */
export type FactorSummary = Pick<
  Factor,
  'id' | 'method' | 'displayName' | 'state' | 'createdAt' | 'confirmedAt' | 'lastUsedAt' | 'codesLeft' | 'freezeReason'
> & {
  /** SMS: the number, masked. */
  readonly maskedNumber?: string;
};

export function summaryOf(factor: Factor): FactorSummary {
  const { id, method, displayName, state, createdAt, confirmedAt, lastUsedAt, codesLeft, freezeReason } = factor;
  return {
    id,
    method,
    displayName,
    state,
    createdAt,
    ...(confirmedAt === undefined ? {} : { confirmedAt }),
    ...(lastUsedAt === undefined ? {} : { lastUsedAt }),
    codesLeft,
    ...(freezeReason === undefined ? {} : { freezeReason }),
  };
}

/** What a factor's secret is sealed to: its own row, so that the secrets of two people cannot be swapped. */
export function secretBinding(factor: Pick<Factor, 'id' | 'realm' | 'subject'>) {
  return { purpose: 'factor.secret', realm: factor.realm, subject: factor.subject, id: factor.id };
}

/** What the address of a consent is sealed to. */
export function consentBinding(realm: string, subject: string, consentId: string) {
  return { purpose: 'consent.address', realm, subject, id: consentId };
}
