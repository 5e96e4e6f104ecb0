import type { EventDraft } from '../domain/audit-event.ts';
import type { Device, EndReason, Revocation, Session, SessionChange, SessionLimitPolicy } from '../domain/session.ts';
import type { EpochMs } from '../domain/time.ts';
import type { TrustedDevice } from '../domain/trusted-device.ts';
import type { ReceiptBurn, Repeat, RequestClaim } from './intents.ts';

/** What becomes of the person's trusted devices with a new session. */
export type DevicesWithSession =
  /** As TrustedDeviceStore.trust; `events` are recorded with `created`. */
  | {
      readonly kind: 'trust';
      readonly device: TrustedDevice;
      readonly maxDevices: number;
      readonly events: readonly EventDraft[];
    }
  /** All are revoked, with the reason FACTOR_CHANGE; `events` are recorded when there was one. */
  | { readonly kind: 'forget'; readonly events: readonly EventDraft[] };

export interface CreateSession {
  readonly session: Session;
  readonly cap: number;
  readonly policy: SessionLimitPolicy;
  /** With `ask`: end these first. Each must be a live session of the person. */
  readonly endSessionIds: readonly string[];
  readonly receipt?: ReceiptBurn;
  /** Done in the same step. */
  readonly devices?: DevicesWithSession;
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
  /**
   * What became of sessions after `position`, ends and other changes, oldest first, of one realm: for whoever keeps copies.
   * Positions are the same as in `revocationsAfter`, without gaps here. A read that begins after a change became known
   * sees it.
   */
  changesAfter(
    realm: string,
    position: number,
    limit: number,
  ): Promise<{ readonly entries: readonly SessionChange[]; readonly oldest: number; readonly head: number }>;
  purge(before: EpochMs, limit: number): Promise<number>;
}
