import type { EventDraft } from '../domain/audit-event.ts';
import type { EpochMs } from '../domain/time.ts';
import type { Repeat, RequestClaim } from './intents.ts';

/** A pass that an operator hands to somebody who was reset; it permits one first factor. */
export interface TemporaryPass {
  /** Keyed digest of the pass. */
  readonly digest: Uint8Array;
  readonly expiresAt: EpochMs;
}

export interface Counts {
  readonly factors: number;
  readonly sessions: number;
  readonly devices: number;
}

export interface ResetSubject {
  readonly realm: string;
  readonly subject: string;
  readonly pass: TemporaryPass;
  readonly now: EpochMs;
  readonly request?: RequestClaim;
  /** Recorded with `reset`. */
  readonly events: readonly EventDraft[];
}

export interface EraseSubject {
  readonly realm: string;
  readonly subject: string;
  /**
   * Keyed digest of the person (domain/erasure.ts). Logged beside the pseudonyms, for sidecars that know the person by a
   * key of their own, made while the database was away.
   */
  readonly mark: string;
  readonly now: EpochMs;
  readonly request?: RequestClaim;
  /** Recorded with `erased`, before the person's key is destroyed. */
  readonly events: readonly EventDraft[];
}

/** An erasure, for the sidecars that may hold the person's key in memory. */
export interface Erasure {
  readonly position: number;
  readonly realm: string;
  /** A pseudonym that the trail knew the person by, or the mark. */
  readonly subjectRef: string;
}

/** What concerns all that is kept of one person. */
export interface SubjectStore {
  /**
   * Removes all factors, codes and pending enrolments, revokes all devices, ends open challenges, spends receipts that
   * were approved, restores the failure budget, and puts the pass in place of an older one. Sessions are ended by the caller, through the session store.
   */
  reset(command: ResetSubject): Promise<({ readonly outcome: 'reset' } & Omit<Counts, 'sessions'>) | Repeat>;
  /** The pass that the person needs for a first enrolment; undefined for somebody who was not reset, or has a factor. */
  pass(realm: string, subject: string): Promise<TemporaryPass | undefined>;
  /**
   * Spends receipts that were approved, deletes every row of the person, wipes what other rows say of them, destroys the keys of their audit fields, and logs
   * the erasure: a row for each pseudonym, and one for the mark. Sessions are ended by the caller before.
   */
  erase(command: EraseSubject): Promise<({ readonly outcome: 'erased' } & Counts) | Repeat>;
  /** Whether the request took effect before; for who has to do something before `erase`. Undefined for a new request. */
  known(request: RequestClaim, now: EpochMs): Promise<Repeat | undefined>;
  /** Erasures after a position, oldest first. */
  erasuresAfter(position: number, limit: number): Promise<readonly Erasure[]>;
}
