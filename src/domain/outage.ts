import { SENSITIVITIES, type Sensitivity } from './action.ts';
import type { DurationMs } from './time.ts';

/**
 * What goes on while Redis or PostgreSQL is away: the one table that the code, the guide (docs/outages.md) and the tests
 * are held to. It only ever takes away: whatever goes on goes on under the same limits.
 */

/** What is away. Without Redis beside it, PostgreSQL being away is `both`, since nothing else holds a copy. */
export type Outage = 'redis' | 'postgres' | 'both';

export const OUTAGES: readonly Outage[] = ['redis', 'postgres', 'both'];

/** `none`: this sidecar has no such dependency. */
export type Presence = 'up' | 'away' | 'none';

/** Undefined while all is there. */
export function outageOf(redis: Presence, postgres: Presence): Outage | undefined {
  if (postgres === 'away') return redis === 'up' ? 'postgres' : 'both';
  return redis === 'away' ? 'redis' : undefined;
}

export interface OutageLimits {
  /** How long sessions that are known from before go on without PostgreSQL; 0 for not at all. */
  readonly postgres: Readonly<Record<Sensitivity, DurationMs>>;
  /** Whether to go on with PostgreSQL alone. */
  readonly redis: Readonly<Record<Sensitivity, 'database' | 'refuse'>>;
}

/** What one kind of work does in one outage. */
export type OutageRule =
  /** Nothing changes for the caller. */
  | 'goes_on'
  /** As `OutageLimits.redis` says for the sensitivity. */
  | 'as_configured'
  /** With what was known before, for as long as `OutageLimits.postgres` says for the sensitivity. */
  | 'for_a_time'
  /** With the copies that Redis holds; without one it is refused. */
  | 'from_copies'
  /** Takes effect at once everywhere, and is refused all the same until it is durable; a repeat does no harm. */
  | 'effect_first'
  /** UNAVAILABLE, with the time to wait. */
  | 'refused';

export interface OutageRow extends Readonly<Record<Outage, OutageRule>> {
  /** The kind of work, in the words of the guide. */
  readonly what: string;
  /** The RPCs of sallyport.v1 that do it. */
  readonly rpcs: readonly string[];
}

const rows = {
  validate_session: {
    what: 'Validate a session',
    rpcs: ['SessionService/ValidateSession'],
    redis: 'as_configured',
    postgres: 'for_a_time',
    both: 'refused',
  },
  open_challenge: {
    what: 'Open a challenge',
    rpcs: ['ChallengeService/OpenChallenge', 'ChallengeService/VerifyChallenge'],
    redis: 'as_configured',
    postgres: 'refused',
    both: 'refused',
  },
  answer_challenge: {
    what: 'Answer or cancel a challenge',
    rpcs: ['ChallengeService/AnswerChallenge', 'ChallengeService/CancelChallenge'],
    redis: 'goes_on',
    postgres: 'refused',
    both: 'refused',
  },
  follow_challenge: {
    what: 'Read or watch an open challenge',
    rpcs: ['ChallengeService/GetChallenge', 'ChallengeService/WatchChallenge'],
    redis: 'goes_on',
    postgres: 'from_copies',
    both: 'refused',
  },
  redeem_receipt: {
    what: 'Redeem a receipt',
    rpcs: ['ChallengeService/RedeemReceipt'],
    redis: 'goes_on',
    postgres: 'refused',
    both: 'refused',
  },
  change_session: {
    what: 'Create or update a session',
    rpcs: ['SessionService/CreateSession', 'SessionService/UpdateSession'],
    redis: 'goes_on',
    postgres: 'refused',
    both: 'refused',
  },
  revoke_session: {
    what: 'Revoke sessions',
    rpcs: ['SessionService/RevokeSession', 'SessionService/RevokeAllSessions'],
    redis: 'goes_on',
    postgres: 'effect_first',
    both: 'refused',
  },
  read_sessions: {
    what: 'Read or list sessions, follow revocations',
    rpcs: ['SessionService/GetSession', 'SessionService/ListSessions', 'SessionService/WatchRevocations'],
    redis: 'goes_on',
    postgres: 'refused',
    both: 'refused',
  },
  read_factors: {
    what: 'Read factors, MFA status and trusted devices',
    rpcs: ['FactorService/ListFactors', 'FactorService/GetMfaStatus', 'FactorService/ListTrustedDevices'],
    redis: 'goes_on',
    postgres: 'refused',
    both: 'refused',
  },
  change_factors: {
    what: 'Enrol, confirm or remove a factor, make backup codes anew, unlock or reset a person',
    rpcs: [
      'FactorService/BeginEnrollment',
      'FactorService/ConfirmEnrollment',
      'FactorService/RemoveFactor',
      'FactorService/RegenerateBackupCodes',
      'AdminService/UnlockSubject',
      'AdminService/ResetSubject',
    ],
    redis: 'goes_on',
    postgres: 'refused',
    both: 'refused',
  },
  change_devices: {
    what: 'Rename or revoke a trusted device',
    rpcs: ['FactorService/RenameTrustedDevice', 'FactorService/RevokeTrustedDevice'],
    redis: 'goes_on',
    postgres: 'refused',
    both: 'refused',
  },
  read_privacy: {
    what: 'Read consents, export what is kept of a person',
    rpcs: ['PrivacyService/ListConsents', 'PrivacyService/ExportSubject'],
    redis: 'goes_on',
    postgres: 'refused',
    both: 'refused',
  },
  change_privacy: {
    what: 'Record or withdraw a consent, erase a person',
    rpcs: ['PrivacyService/RecordConsent', 'PrivacyService/WithdrawConsent', 'PrivacyService/EraseSubject'],
    redis: 'goes_on',
    postgres: 'refused',
    both: 'refused',
  },
  read_trail: {
    what: 'Query, tail, export or verify the trail',
    rpcs: [
      'AuditService/QueryEvents',
      'AuditService/TailEvents',
      'AuditService/ExportEvents',
      'AuditService/VerifyChain',
    ],
    redis: 'goes_on',
    postgres: 'refused',
    both: 'refused',
  },
  look_after: {
    what: 'Ask the sidecar about itself, health and metrics too',
    rpcs: ['AdminService/GetInfo', 'AuditService/GetBufferStatus'],
    redis: 'goes_on',
    postgres: 'goes_on',
    both: 'goes_on',
  },
} as const satisfies Readonly<Record<string, OutageRow>>;

/** A kind of work, as far as outages tell kinds apart. */
export type Work = keyof typeof rows;

export const OUTAGE_TABLE: Readonly<Record<Work, OutageRow>> = rows;

/** What becomes of a call. */
export type Course = 'goes_on' | 'effect_first' | 'refused';

/**
 * What becomes of a call of this kind, `awayMs` after PostgreSQL went away (the time matters to `for_a_time` alone). The
 * limits are half-open: at the limit it is over.
 */
export function courseOf(
  work: Work,
  outage: Outage,
  sensitivity: Sensitivity,
  limits: OutageLimits,
  awayMs: DurationMs,
): Course {
  const rule = OUTAGE_TABLE[work][outage];
  switch (rule) {
    case 'goes_on':
    case 'effect_first':
    case 'refused':
      return rule;
    case 'from_copies':
      return 'goes_on';
    case 'as_configured':
      return limits.redis[sensitivity] === 'database' ? 'goes_on' : 'refused';
    case 'for_a_time':
      return awayMs < limits.postgres[sensitivity] ? 'goes_on' : 'refused';
  }
}

/** For how long anything at all goes on without PostgreSQL. */
export function longestWithoutPostgres(limits: OutageLimits): DurationMs {
  return Math.max(...SENSITIVITIES.map((sensitivity) => limits.postgres[sensitivity]));
}

/**
 * An outage of PostgreSQL that begins this soon after the last one ended is the same one and does not get its time again,
 * or a database that comes back for moments only could be done without for ever.
 */
export const SAME_OUTAGE_WITHIN: DurationMs = 10_000;

/** Whether a sidecar can be of use to its application: then it is ready, if degraded. */
export function isOfUse(outage: Outage | undefined, limits: OutageLimits, awayMs: DurationMs): boolean {
  if (outage === 'both') return false;
  return outage !== 'postgres' || awayMs < longestWithoutPostgres(limits);
}
