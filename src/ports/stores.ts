import type { EventDraft } from '../domain/audit-event.ts';
import type { Challenge, ChallengeState, TerminalState } from '../domain/challenge.ts';
import type { BackupCodeHash, Consent, Factor } from '../domain/factor.ts';
import type { Budget, BudgetLimits } from '../domain/failure-budget.ts';
import type { Method } from '../domain/method.ts';
import type { Device, EndReason, Revocation, Session, SessionLimitPolicy } from '../domain/session.ts';
import type { EpochMs } from '../domain/time.ts';

/**
 * The ports for state. Each method is one atomic intent with an outcome: of any number of parallel calls, from any
 * number of sidecars, the outcomes are as if they had come one after the other. Instants are passed in.
 *
 * Contract for `events`: they are recorded if and only if the outcome is the one that the intent's comment names, and
 * they are durable before the promise resolves. An intent never takes effect without its events; after a crash an event
 * may stand for an effect that did not happen, and then an `audit.unconfirmed` event says so at the next start.
 *
 * A failing or slow store rejects with Fault(unavailable). All values are plain data.
 */

/** Makes a call repeatable: a second call with the same key gets the first outcome and has no second effect. */
export interface RequestClaim {
  /** Realm, method, caller and request id, in this order, joined by a line feed. */
  readonly key: string;
  /** Digest of the whole request, to tell a repeat from a reuse. */
  readonly fingerprint: string;
  /** What the service needs to build the same answer again; sealed where it holds a secret. */
  readonly seed: Uint8Array;
  readonly expiresAt: EpochMs;
}

/** The request id was used before: with the same request (`repeat`) or another one (`reused`). */
export type Repeat = { readonly outcome: 'repeat'; readonly seed: Uint8Array } | { readonly outcome: 'reused' };

export interface OpenChallenge {
  /** In state PENDING, or APPROVED when the policy needs no proof. */
  readonly challenge: Challenge;
  readonly request?: RequestClaim;
  /** Bound on challenges of one person that are open at once. */
  readonly maxOpen: number;
  /** Recorded with `opened`. */
  readonly events: readonly EventDraft[];
}

/** What a right proof uses up. */
export type ProofClaim =
  | { readonly kind: 'totp'; readonly factorId: string; readonly step: number; readonly driftSteps: number }
  | { readonly kind: 'backup_code'; readonly factorId: string; readonly codeId: string };

export interface ApproveChallenge {
  readonly realm: string;
  readonly challengeId: string;
  readonly proof: ProofClaim;
  readonly method: Method;
  readonly receiptId: string;
  readonly receiptExpiresAt: EpochMs;
  readonly now: EpochMs;
  /** Key of the request that AttemptStore.spend noted as refused; becomes approved in the same step. */
  readonly requestKey?: string;
  /** Recorded with `approved`. */
  readonly events: readonly EventDraft[];
}

export interface SettleChallenge {
  readonly realm: string;
  readonly challengeId: string;
  readonly to: Exclude<TerminalState, 'APPROVED'>;
  readonly now: EpochMs;
  /** Recorded with `settled`. */
  readonly events: readonly EventDraft[];
}

/** A receipt to burn together with what it permits. */
export interface ReceiptBurn {
  readonly receiptId: string;
  readonly expiresAt: EpochMs;
}

export interface BurnReceipt extends ReceiptBurn {
  readonly realm: string;
  readonly now: EpochMs;
  readonly request?: RequestClaim;
  /** Recorded with `burned`. */
  readonly events: readonly EventDraft[];
}

export interface ChallengeStore {
  /** `too_many`: the person has `maxOpen` open challenges already. Expired ones do not count. */
  open(command: OpenChallenge): Promise<{ readonly outcome: 'opened' } | { readonly outcome: 'too_many' } | Repeat>;
  read(realm: string, challengeId: string): Promise<Challenge | undefined>;
  /** Moves forward through the open states and notes the chosen method. No event: the service records its own. */
  advance(command: {
    readonly realm: string;
    readonly challengeId: string;
    readonly to: ChallengeState;
    readonly chosenMethod?: Method;
    readonly now: EpochMs;
  }): Promise<
    { readonly outcome: 'advanced' | 'unchanged'; readonly challenge: Challenge } | { readonly outcome: 'missing' }
  >;
  /**
   * In one step: the challenge is open and in time, the proof is unused (TOTP step above the factor's last, code unspent,
   * factor active), then the proof is used up, the challenge APPROVED and the person's failure budget restored.
   * `ended` carries the challenge as it stands; `replayed` means the proof was used before and changes nothing.
   */
  approve(
    command: ApproveChallenge,
  ): Promise<
    | { readonly outcome: 'approved'; readonly challenge: Challenge; readonly codesLeft: number }
    | { readonly outcome: 'ended'; readonly challenge: Challenge }
    | { readonly outcome: 'replayed' }
    | { readonly outcome: 'missing' }
  >;
  /** The one terminal transition, by compare-and-set from an open state. */
  settle(
    command: SettleChallenge,
  ): Promise<
    | { readonly outcome: 'settled'; readonly challenge: Challenge }
    | { readonly outcome: 'ended'; readonly challenge: Challenge }
    | { readonly outcome: 'missing' }
  >;
  /** Exactly one `burned` per receipt id, ever; spent ids are kept until well after the receipt's own expiry. */
  burnReceipt(command: BurnReceipt): Promise<{ readonly outcome: 'burned' | 'spent' } | Repeat>;
  /** Open challenges whose time is up, oldest first. */
  due(now: EpochMs, limit: number): Promise<readonly Challenge[]>;
  /** Collects rubbish: ended challenges, spent receipts and request claims from before `before`. Answers how many rows went. */
  purge(before: EpochMs, limit: number): Promise<number>;
}

export interface SpendAttempt {
  readonly realm: string;
  readonly subject: string;
  readonly limits: BudgetLimits;
  readonly now: EpochMs;
  /** Noted as refused until the approval says otherwise, so a repeat never spends again. */
  readonly request?: RequestClaim;
}

/** The failure budget: one per person. */
export interface AttemptStore {
  /** Counts one attempt before the proof is looked at (domain/failure-budget.ts). */
  spend(command: SpendAttempt): Promise<
    | {
        readonly outcome: 'spent';
        readonly attemptsLeft: number;
        readonly locks: 'no' | 'short' | 'hard';
        readonly lockedUntil: EpochMs;
      }
    | { readonly outcome: 'locked'; readonly until: EpochMs; readonly hard: boolean }
    | { readonly outcome: 'repeat'; readonly approved: boolean; readonly seed: Uint8Array }
    | { readonly outcome: 'reused' }
  >;
  read(realm: string, subject: string): Promise<Budget>;
  /** An operator's act; `events` are recorded when the person was locked or had failures. */
  unlock(realm: string, subject: string, events: readonly EventDraft[]): Promise<{ readonly wasLocked: boolean }>;
}

export interface BackupCodeSet {
  /** ACTIVE, method `backup_code`. */
  readonly factor: Factor;
  readonly codes: readonly BackupCodeHash[];
}

export interface BeginFactor {
  /** PENDING. An older pending enrolment of the same person and method is dropped. */
  readonly factor: Factor;
  readonly consent: Consent;
  /** Burned in the same step; absent for a first enrolment. */
  readonly receipt?: ReceiptBurn;
  /** Without a receipt the person must have no active factor, checked in the same step. */
  readonly firstOnly: boolean;
  readonly maxFactors: number;
  readonly now: EpochMs;
  readonly request?: RequestClaim;
  /** Recorded with `begun`. */
  readonly events: readonly EventDraft[];
}

export interface ConfirmFactor {
  readonly realm: string;
  readonly subject: string;
  readonly factorId: string;
  /** TOTP: the matched step, claimed with the confirmation. */
  readonly step: number;
  readonly driftSteps: number;
  /** Stored only if the person has no backup codes yet. */
  readonly backupCodes?: BackupCodeSet;
  readonly now: EpochMs;
  /**
   * A key that AttemptStore.spend noted as refused becomes approved in the same step and takes this seed, which a later
   * spend with the key answers; a key noted by anything else is a repeat.
   */
  readonly request?: RequestClaim;
  /** Recorded with `confirmed`. */
  readonly events: readonly EventDraft[];
  /** Recorded as well when another factor was replaced. */
  readonly replacedEvents: readonly EventDraft[];
  /** Recorded as well when the backup codes were stored. */
  readonly backupEvents: readonly EventDraft[];
}

export interface RemoveFactor {
  readonly realm: string;
  readonly subject: string;
  readonly factorId: string;
  readonly receipt: ReceiptBurn;
  /** When not empty, one active factor of these methods must remain. Backup codes never stand alone: they go with the last other factor. */
  readonly mustKeepOneOf: readonly Method[];
  readonly now: EpochMs;
  readonly request?: RequestClaim;
  /** Recorded with `removed`. */
  readonly events: readonly EventDraft[];
}

export interface ReplaceBackupCodes {
  readonly realm: string;
  readonly subject: string;
  readonly set: BackupCodeSet;
  readonly receipt: ReceiptBurn;
  readonly now: EpochMs;
  readonly request?: RequestClaim;
  /** Recorded with `replaced`. */
  readonly events: readonly EventDraft[];
}

export interface FactorStore {
  begin(
    command: BeginFactor,
  ): Promise<
    | { readonly outcome: 'begun' }
    | { readonly outcome: 'receipt_spent' | 'not_first' | 'too_many' | 'replaces_missing' }
    | Repeat
  >;
  /** All factors of a person, pending ones too (unless lapsed), oldest first. */
  list(realm: string, subject: string, now: EpochMs): Promise<readonly Factor[]>;
  read(realm: string, factorId: string): Promise<Factor | undefined>;
  /** `replaced` names the factor that went, if one did. Restores the failure budget. */
  confirm(command: ConfirmFactor): Promise<
    | {
        readonly outcome: 'confirmed';
        readonly factor: Factor;
        readonly backupCodesStored: boolean;
        readonly replaced: string;
      }
    | { readonly outcome: 'missing' | 'lapsed' | 'already_active' }
    | Repeat
  >;
  remove(
    command: RemoveFactor,
  ): Promise<
    { readonly outcome: 'removed' } | { readonly outcome: 'missing' | 'receipt_spent' | 'last_factor' } | Repeat
  >;
  /** Voids every older code at once. */
  replaceBackupCodes(
    command: ReplaceBackupCodes,
  ): Promise<{ readonly outcome: 'replaced' } | { readonly outcome: 'receipt_spent' } | Repeat>;
  /** The unspent code with this selector, if there is one. */
  findBackupCode(
    realm: string,
    subject: string,
    selector: string,
  ): Promise<(BackupCodeHash & { readonly factorId: string }) | undefined>;
}

export interface CreateSession {
  readonly session: Session;
  readonly cap: number;
  readonly policy: SessionLimitPolicy;
  /** With `ask`: end these first. Each must be a live session of the person. */
  readonly endSessionIds: readonly string[];
  readonly receipt?: ReceiptBurn;
  readonly now: EpochMs;
  readonly request?: RequestClaim;
  /** Recorded with `created`. */
  readonly events: readonly EventDraft[];
  /** Recorded once per evicted session, with its id, reason and a new event id derived from it filled in. */
  readonly evictionEvent: EventDraft;
}

export interface RotateSession {
  readonly realm: string;
  readonly sessionId: string;
  /** Must still be the session's token. */
  readonly oldTokenDigest: string;
  readonly newTokenDigest: string;
  readonly amr: readonly string[];
  readonly acr: string;
  /** Absent: stays as it was, since nothing was proven. */
  readonly mfaAt?: EpochMs;
  /** The connection to compare later ones with; absent: stays as it was. */
  readonly device?: Device;
  /** Forgets `Session.risk`: the person proved themselves. */
  readonly clearRisk: boolean;
  readonly receipt: ReceiptBurn;
  readonly labels?: Readonly<Record<string, string>>;
  readonly now: EpochMs;
  readonly request?: RequestClaim;
  /** Recorded with `rotated`. */
  readonly events: readonly EventDraft[];
}

export interface EndSessions {
  readonly realm: string;
  /** Which: these ids, or all of a person but one. */
  readonly target:
    | { readonly kind: 'ids'; readonly sessionIds: readonly string[]; readonly subject?: string }
    | { readonly kind: 'subject'; readonly subject: string; readonly exceptSessionId: string };
  readonly reason: EndReason;
  readonly now: EpochMs;
  /** Recorded once per session that this call ended, with its id, subject and a new event id derived from it filled in. */
  readonly event: EventDraft;
}

export interface NoteRisk {
  readonly realm: string;
  readonly sessionId: string;
  /** Joined with the changes that are noted already, up to MAX_NOTED_CHANGES. */
  readonly changes: readonly string[];
  /** Sets `Session.risk.stepUpRequired`; false leaves it. */
  readonly stepUpRequired: boolean;
  readonly now: EpochMs;
  /** Recorded with `noted`. */
  readonly events: readonly EventDraft[];
}

export interface SessionPage {
  readonly realm: string;
  readonly subject: string;
  readonly includeEnded: boolean;
  readonly limit: number;
  /** Sessions strictly older than this one in (createdAt, id) order. */
  readonly after?: { readonly createdAt: EpochMs; readonly id: string };
  readonly now: EpochMs;
}

export interface SessionStore {
  /**
   * Under the cap at every instant, counting only sessions alive at `now`. `evict_oldest` ends the least recently used;
   * `limit` carries the live sessions, newest first. `unknown_session`: an id in `endSessionIds` is not a live session of the person.
   */
  create(
    command: CreateSession,
  ): Promise<
    | { readonly outcome: 'created'; readonly evicted: readonly Session[] }
    | { readonly outcome: 'limit'; readonly candidates: readonly Session[] }
    | { readonly outcome: 'receipt_spent' | 'unknown_session' }
    | Repeat
  >;
  findByTokenDigest(realm: string, tokenDigest: string): Promise<Session | undefined>;
  read(realm: string, sessionId: string): Promise<Session | undefined>;
  list(page: SessionPage): Promise<readonly Session[]>;
  /** Notes use; never moves `lastUsedAt` back, never touches an ended session. */
  touch(
    uses: readonly { readonly realm: string; readonly sessionId: string; readonly lastUsedAt: EpochMs }[],
  ): Promise<void>;
  rotate(
    command: RotateSession,
  ): Promise<
    | { readonly outcome: 'rotated'; readonly session: Session }
    | { readonly outcome: 'not_live' | 'receipt_spent' }
    | Repeat
  >;
  setLabels(command: {
    readonly realm: string;
    readonly sessionId: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly now: EpochMs;
    readonly events: readonly EventDraft[];
  }): Promise<{ readonly outcome: 'updated'; readonly session: Session } | { readonly outcome: 'not_live' }>;
  /** Notes hijack signals in `Session.risk`. `known`: all of it was noted before, nothing changed. */
  noteRisk(
    command: NoteRisk,
  ): Promise<{ readonly outcome: 'noted' | 'known'; readonly session: Session } | { readonly outcome: 'not_live' }>;
  /**
   * Ends sessions that are not marked ended; answers those that this call ended. With the reasons EXPIRED and IDLE only
   * those whose limit is reached at `now`. Each end enters the revocation log in the same step.
   */
  end(command: EndSessions): Promise<readonly Session[]>;
  /** Sessions past their absolute or idle limit that are not marked ended yet. */
  due(now: EpochMs, limit: number): Promise<readonly Session[]>;
  /** Entries after `position`, oldest first, of one realm. `oldest` is the first position still kept, `head` the newest given out. */
  revocationsAfter(
    realm: string,
    position: number,
    limit: number,
  ): Promise<{ readonly entries: readonly Revocation[]; readonly oldest: number; readonly head: number }>;
  purge(before: EpochMs, limit: number): Promise<number>;
}

/** Key pairs that sign receipts. The private part is sealed. */
export interface SigningKey {
  readonly id: string;
  /** JWK of the public key, as JSON. */
  readonly publicJwk: string;
  /** PKCS #8, sealed. */
  readonly sealedPrivate: Uint8Array;
  readonly createdAt: EpochMs;
  readonly retiredAt?: EpochMs;
}

export interface SigningKeyStore {
  /** Stores `candidate` if there is no active key of this use yet; answers the active one either way. */
  ensure(use: 'receipt' | 'checkpoint', candidate: SigningKey, events: readonly EventDraft[]): Promise<SigningKey>;
  /** Active and retired keys, newest first. */
  list(use: 'receipt' | 'checkpoint'): Promise<readonly SigningKey[]>;
}
