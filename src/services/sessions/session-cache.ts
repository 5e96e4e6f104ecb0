import type { ClientContext } from '#src/domain/caller.ts';
import type { RiskSignal } from '#src/domain/risk.ts';
import { livenessAt, type Session } from '#src/domain/session.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { Sighting } from '#src/domain/travel.ts';
import type { Signals } from '#src/ports/signals.ts';

/** What a good token is answered with. The same object comes again while nothing changed, so it can key derived values. */
export interface ValidSession {
  readonly session: Session;
  /** Signals seen on this call. */
  readonly signals: readonly RiskSignal[];
  readonly stepUpRequired: boolean;
}

/** The connection that was checked last. */
export interface CheckedConnection {
  readonly client: ClientContext;
  readonly answer: ValidSession;
  /** Whether it stands at `lastSeen`, so that its later uses are sightings there too. */
  readonly isAtLastSeen: boolean;
  at: EpochMs;
}

/** A session in memory. */
export interface CachedSession {
  /** As stored; its `lastUsedAt` is refreshed in steps. */
  session: Session;
  /** The answer when the connection is not checked. */
  plain: ValidSession;
  /** The exact last use, by this sidecar or any other that has told the store. */
  lastUsedAt: EpochMs;
  checked: CheckedConnection | undefined;
  /** For the travel signal; undefined while unknown. */
  lastSeen: Sighting | undefined;
  /** Asked for since the eviction hand came by. */
  recent: boolean;
}

/** Taken before the store is read; see `SessionCache.put`. */
export interface Fence {
  readonly generation: number;
  readonly epoch: number;
}

/** The answer when the connection is not checked. */
export function plainAnswer(session: Session): ValidSession {
  return { session, signals: [], stepUpRequired: session.risk?.stepUpRequired ?? false };
}

/**
 * Sessions that were good a moment ago, by token digest. It may answer only while the feed of endings is live, and takes
 * nothing that was read from the store before an end or another change came to be known. Bounded by the second-chance
 * algorithm, so that a hit costs one flag.
 */
export class SessionCache {
  readonly #signals: Signals;
  readonly #maxEntries: number;
  readonly #entries = new Map<string, CachedSession>();
  readonly #digests = new Map<string, string>();
  /** The generation up to which every end is known here. */
  #generation: number;
  /** Grows with every drop in this process. */
  #epoch = 0;

  constructor(signals: Signals, maxEntries: number) {
    this.#signals = signals;
    this.#maxEntries = maxEntries;
    this.#generation = signals.generation;
    signals.onSessionsEnded((revocations) => this.#heard(revocations.map(({ sessionId }) => sessionId)));
    signals.onSessionsChanged((sessionIds) => this.#heard(sessionIds));
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The session of this token if it may be answered from memory and is alive at `now`. */
  get(realm: string, digest: string, now: EpochMs): CachedSession | undefined {
    if (!this.#isTrusted()) return undefined;
    const entry = this.#entries.get(digest);
    if (entry === undefined || entry.session.realm !== realm) return undefined;
    if (!livenessAt(entry.session, now, entry.lastUsedAt).alive) {
      this.drop(entry.session.id);
      return undefined;
    }
    entry.recent = true;
    return entry;
  }

  fence(): Fence {
    return { generation: this.#signals.generation, epoch: this.#epoch };
  }

  /**
   * The entry of a session that was read from the store after `fence` was taken. It is kept only if nothing ended or
   * rotated in between; otherwise it serves the one call.
   */
  put(session: Session, lastUsedAt: EpochMs, fence: Fence): CachedSession {
    const isFresh = this.#isTrusted() && fence.generation === this.#generation && fence.epoch === this.#epoch;
    const existing = isFresh ? this.#entries.get(session.tokenDigest) : undefined;
    if (existing) return existing;
    const { location } = session.device;
    const entry: CachedSession = {
      session,
      plain: plainAnswer(session),
      lastUsedAt,
      checked: undefined,
      lastSeen: location && { location, at: session.createdAt },
      recent: false,
    };
    if (!isFresh || this.#maxEntries <= 0) return entry;
    // Of two tokens of one session one was replaced; `drop` has to reach whichever is kept.
    const other = this.#digests.get(session.id);
    if (other !== undefined) this.#entries.delete(other);
    if (this.#entries.size >= this.#maxEntries) this.#evictOne();
    this.#entries.set(session.tokenDigest, entry);
    this.#digests.set(session.id, session.tokenDigest);
    return entry;
  }

  /** Forgets a session and lets no read that is under way bring it back. */
  drop(sessionId: string): void {
    this.#epoch += 1;
    const digest = this.#digests.get(sessionId);
    if (digest === undefined) return;
    this.#digests.delete(sessionId);
    this.#entries.delete(digest);
  }

  /** Forgets everything; when it is not known what has ended. */
  clear(): void {
    this.#epoch += 1;
    this.#digests.clear();
    this.#entries.clear();
  }

  #heard(sessionIds: readonly string[]): void {
    // One step for this news; more means that other news was missed.
    if (this.#signals.generation === this.#generation + 1) this.#generation = this.#signals.generation;
    for (const sessionId of sessionIds) this.drop(sessionId);
  }

  #isTrusted(): boolean {
    if (!this.#signals.live) return false;
    if (this.#signals.generation !== this.#generation) {
      this.#generation = this.#signals.generation;
      this.clear();
    }
    return true;
  }

  #evictOne(): void {
    for (const [digest, entry] of this.#entries) {
      this.#entries.delete(digest);
      if (entry.recent) {
        entry.recent = false;
        this.#entries.set(digest, entry);
        continue;
      }
      this.#digests.delete(entry.session.id);
      return;
    }
  }
}
