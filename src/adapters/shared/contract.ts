import type { EventDraft } from '../../domain/audit-event.ts';
import type { Challenge } from '../../domain/challenge.ts';
import type { EndReason, Revocation, Session } from '../../domain/session.ts';
import type { EpochMs } from '../../domain/time.ts';

/**
 * What stands in front of the database where many sidecars share one state: copies that make reads quick, and news that
 * make changes quick. Neither is ever the only home of a fact. Every call rejects within its time-out with
 * Fault(unavailable); whoever calls goes on with the database.
 */

/** A place in the change log of a realm, as whoever follows it knows it. */
export interface LogPoint {
  readonly position: number;
  /**
   * A digest of the entry at `position`, 32 bits, 0 when the log was empty. A database that was set back to an earlier
   * time gives out the same positions again, with other entries: what was written before does not fit then.
   */
  readonly mark: number;
}

/** A session as it was in the database when the change log of its realm stood at `position` or later. */
export interface SessionCopy extends LogPoint {
  readonly session: Session;
}

export interface SessionCopies {
  /** Undefined when there is none, or when it does not open under the key ring. */
  find(realm: string, tokenDigest: string): Promise<SessionCopy | undefined>;
  /** Keeps the newest: a copy with a lower position than the stored one changes nothing. Lives no longer than the session. */
  put(copy: SessionCopy): Promise<void>;
  drop(realm: string, tokenDigests: readonly string[]): Promise<void>;
}

/** An end that was asked for while the database was away. */
export interface PendingEnd {
  /** Made by whoever asks, so that a repeat is recognised. */
  readonly id: string;
  readonly realm: string;
  readonly target:
    | { readonly kind: 'ids'; readonly sessionIds: readonly string[]; readonly subject?: string }
    | { readonly kind: 'subject'; readonly subject: string; readonly exceptSessionId: string };
  readonly reason: EndReason;
  readonly at: EpochMs;
  /** What goes into the trail once it is durable; says who asked. */
  readonly event: EventDraft;
}

/** Ends that take effect at once although the database is away; they become durable when it is back. */
export interface PendingEnds {
  /** Takes effect on all sidecars: `isEnded` is true from here on. A second call with the same id changes nothing. */
  add(end: PendingEnd): Promise<void>;
  /** Whether such an end names the session. To be asked only while the database is away, or until `list` is empty again. */
  isEnded(session: Pick<Session, 'id' | 'realm' | 'subject' | 'createdAt'>): Promise<boolean>;
  /** Oldest first. */
  list(limit: number): Promise<readonly PendingEnd[]>;
  /** It is durable now. */
  remove(end: PendingEnd): Promise<void>;
}

export interface ChallengeCopies {
  find(realm: string, challengeId: string): Promise<Challenge | undefined>;
  /** Never puts an open state over an ended one, nor an earlier open state over a later one. */
  put(challenge: Challenge): Promise<void>;
}

/** For whoever follows challenges and cannot rely on news. */
export interface MovedChallenges {
  /** Those of these challenges that are not as they were opened any more, ended ones above all. */
  movedAmong(challengeIds: readonly string[]): Promise<readonly Challenge[]>;
}

/** Word between sidecars. What is missed is found in the database; `connected` says whether anything may be missed. */
export interface News {
  /** False from the moment the connection is in doubt until every subscription stands again. */
  readonly connected: boolean;
  /** `connected` has changed. */
  onConnected(listener: (connected: boolean) => void): () => void;
  sessionsEnded(ends: readonly EndNews[]): Promise<void>;
  /** Other changes of sessions. `at` as in the log of changes, so that nobody is told twice of one change. */
  sessionsChanged(realm: string, sessionIds: readonly string[], at: EpochMs): Promise<void>;
  challengeChanged(challenge: Challenge): Promise<void>;
  /** From other sidecars only; what this one said does not come back. */
  onSessionsEnded(listener: (ends: readonly EndNews[]) => void): () => void;
  onSessionsChanged(listener: (sessionIds: readonly string[], at?: EpochMs) => void): () => void;
  /** Resolves when the subscription stands: what is said from then on arrives. The disposer unsubscribes. */
  followChallenge(challengeId: string, listener: (challenge: Challenge) => void): Promise<() => void>;
}

export interface EndNews extends Omit<Revocation, 'position'> {
  /**
   * The end waits in PendingEnds. Then an empty `sessionId` means all sessions that the person has, since the database
   * cannot say which those are.
   */
  readonly pending?: boolean;
  /** Of all those the one that goes on; '' for none. */
  readonly exceptSessionId?: string;
}
