import type { SessionChange } from '#src/domain/session.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Dependencies } from '#src/ports/dependencies.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { awayFor } from './breaker.ts';
import type { EndNews, LogPoint, News, SessionCopy } from './contract.ts';
import { NewsRelay } from './news-relay.ts';
import { RealmFollower } from './realm-follower.ts';
import { ToldChanges } from './told-changes.ts';

/** How often the log is looked at while news come. */
const CHECK_WITH_NEWS: DurationMs = 1_000;
/** While none come, and after a look that failed. */
const CHECK_WITHOUT_NEWS: DurationMs = 250;
/** For how long a look is good. */
const FRESH_WITH_NEWS: DurationMs = 2_000;
const FRESH_WITHOUT_NEWS: DurationMs = 1_000;
/** An outage is noticed by looks that fail, so the last good one is older than the outage, by no more than this. */
const NOTICED_WITHIN: DurationMs = 30_000;

export interface SessionFenceOptions {
  /** The database itself, not what stands in front of it. */
  readonly store: Pick<SessionStore, 'changesAfter'>;
  readonly realms: readonly string[];
  /** Absent without Redis. */
  readonly news?: News | undefined;
  readonly dependencies: Dependencies;
  /** The longest that anything goes on while PostgreSQL is away. */
  readonly longestOutageMs: DurationMs;
  /** Longest wait for one look at the log. */
  readonly timeoutMs: DurationMs;
  /** Changes per realm that copies may be older than; a power of two. */
  readonly slots?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Told of what other sidecars did. */
export interface FenceListener {
  ended(ends: readonly EndNews[]): void;
  changed(sessionIds: readonly string[]): void;
  /** Something may have been missed for good: nothing from before may be used. */
  lost(): void;
}

/**
 * Knows what became of sessions, by news and by the database's log, and so which copies still hold. What Redis forgot,
 * kept too long or brought back from a dump is found out by the positions alone.
 */
export class SessionFence {
  readonly #options: SessionFenceOptions;
  readonly #realms: ReadonlyMap<string, RealmFollower>;
  readonly #told = new ToldChanges();
  readonly #listeners = new Set<FenceListener>();
  readonly #relay: NewsRelay | undefined;
  readonly #stops: (() => void)[] = [];
  /** When news began to come without a break, by the monotonic clock. */
  #newsSince: number | undefined;
  #cancelTimer: (() => void) | undefined;
  #round: Promise<void> | undefined;
  #stopped = true;

  constructor(options: SessionFenceOptions) {
    this.#options = options;
    const { news } = options;
    this.#relay = news && new NewsRelay({ ...options, news, told: this.#told });
    const tell = (entries: readonly SessionChange[]) => this.#logged(entries);
    const lost = () => this.#tell((listener) => listener.lost());
    this.#realms = new Map(
      options.realms.map((realm) => [realm, new RealmFollower({ ...options, realm, tell, lost })] as const),
    );
  }

  /** Resolves after the first look at the log, whether it succeeded or not. */
  start(): Promise<void> {
    const { news, dependencies, clock } = this.#options;
    this.#stopped = false;
    if (news) {
      this.#newsSince = news.connected ? clock.monotonic() : undefined;
      this.#stops.push(
        news.onConnected((connected) => {
          this.#newsSince = connected ? clock.monotonic() : undefined;
          this.#lookSoon();
        }),
        news.onSessionsEnded((ends) => this.#heardEnds(ends)),
        news.onSessionsChanged((sessionIds, at) => this.#heardChanges(sessionIds, at)),
      );
    }
    this.#stops.push(
      dependencies.onChange(({ name, up }) => {
        if (name === 'postgres' && up) this.#lookSoon();
      }),
    );
    return this.#look();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelTimer?.();
    this.#relay?.stop();
    for (const stop of this.#stops.splice(0)) stop();
    await this.#round;
  }

  listen(listener: FenceListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What to write a copy with; to be taken before the session is read. Undefined while no copy could be believed. */
  position(realm: string): LogPoint | undefined {
    return this.#realms.get(realm)?.view.point;
  }

  /** Whether the copy is the session as it is, as far as is known here. Says nothing on how much is known: `isFresh`. */
  believes(copy: SessionCopy): boolean {
    return this.#realms.get(copy.session.realm)?.view.believes(copy) ?? false;
  }

  /** Whether enough is known of this realm to answer by what is known. */
  isFresh(realm: string): boolean {
    const follower = this.#realms.get(realm);
    return follower !== undefined && this.#isFresh(follower);
  }

  /** Whether enough is known of every realm. */
  get fresh(): boolean {
    for (const follower of this.#realms.values()) if (!this.#isFresh(follower)) return false;
    return true;
  }

  /**
   * Looks at the log now; false if that failed. What was committed before the call is known afterwards. Of a realm that is
   * not followed nothing is ever believed, so there is nothing to look for.
   */
  catchUp(realm: string): Promise<boolean> {
    return this.#realms.get(realm)?.look() ?? Promise.resolve(true);
  }

  /** As `catchUp`, of every realm. */
  async catchUpAll(): Promise<boolean> {
    for (const realm of this.#realms.keys()) if (!(await this.catchUp(realm))) return false;
    return true;
  }

  /** This sidecar ended or changed sessions: their copies are out of date, and whoever has to know here knows. */
  did(realm: string, sessionIds: readonly string[], at: number): void {
    for (const sessionId of sessionIds) {
      this.#realms.get(realm)?.view.hear(sessionId);
      this.#told.byNews(sessionId, at);
    }
  }

  /**
   * Pending ends that were found waiting. They are in no log yet: they end once more when they are durable, and whoever
   * follows the log is told then.
   */
  found(ends: readonly EndNews[]): void {
    this.#tellEnds(ends.filter((end) => this.#told.byLog(pendingKey(end), end.endedAt)));
  }

  #isFresh({ lastLook }: RealmFollower): boolean {
    if (lastLook === undefined) return false;
    const { clock, dependencies, longestOutageMs, news } = this.#options;
    const age = Math.max(clock.monotonic() - lastLook.monotonic, clock.now() - lastLook.wall);
    // What came between two connections is missing until the log has been looked at.
    const isUnbroken = this.#newsSince !== undefined && this.#newsSince <= lastLook.monotonic;
    const isComplete = isUnbroken && news?.connected === true;
    const postgres = dependencies.state('postgres');
    if (postgres?.up === false) {
      const isOver = awayFor(postgres, clock.now()) >= longestOutageMs || age >= longestOutageMs + NOTICED_WITHIN;
      return isComplete && !isOver;
    }
    return age < (isComplete ? FRESH_WITH_NEWS : FRESH_WITHOUT_NEWS);
  }

  #heardEnds(ends: readonly EndNews[]): void {
    const fresh = ends.filter((end) => {
      if (end.pending === true) return this.#told.byNews(pendingKey(end), end.endedAt);
      this.#realms.get(end.realm)?.view.hear(end.sessionId);
      return this.#told.byNews(end.sessionId, end.endedAt);
    });
    this.#tellEnds(fresh);
  }

  #heardChanges(sessionIds: readonly string[], at: number | undefined): void {
    // Ids are unique over all realms, and news of a change does not say in which it is.
    for (const { view } of this.#realms.values()) for (const sessionId of sessionIds) view.hear(sessionId);
    const fresh = sessionIds.filter((sessionId) => at === undefined || this.#told.byNews(sessionId, at));
    if (fresh.length > 0) this.#tell((listener) => listener.changed(fresh));
  }

  #logged(entries: readonly SessionChange[]): void {
    const fresh = entries.filter(({ sessionId, at }) => this.#told.byLog(sessionId, at));
    if (!this.#stopped) this.#relay?.note(fresh);
    const ends = fresh.flatMap(({ realm, sessionId, subject, endReason, at }) =>
      endReason === undefined ? [] : [{ realm, sessionId, subject, reason: endReason, endedAt: at }],
    );
    const changed = fresh.filter(({ endReason }) => endReason === undefined).map(({ sessionId }) => sessionId);
    this.#tellEnds(ends);
    if (changed.length > 0) this.#tell((listener) => listener.changed(changed));
  }

  #tellEnds(ends: readonly EndNews[]): void {
    const named = ends.filter(({ realm, sessionId }) => sessionId !== '' && this.#realms.has(realm));
    // Which sessions a person has is only in the database, so nothing at all can be relied on.
    if (ends.some(({ sessionId }) => sessionId === '')) this.#tell((listener) => listener.lost());
    if (named.length > 0) this.#tell((listener) => listener.ended(named));
  }

  #tell(news: (listener: FenceListener) => void): void {
    for (const listener of [...this.#listeners]) news(listener);
  }

  #lookSoon(): void {
    if (this.#stopped) return;
    // A look that is under way may have begun too early.
    void (this.#round ?? Promise.resolve()).then(() => this.#look());
  }

  /** One realm after the other, so that calls find the connection free in between. */
  #look(): Promise<void> {
    this.#round ??= this.#lookAtAll().finally(() => {
      this.#round = undefined;
    });
    return this.#round;
  }

  async #lookAtAll(): Promise<void> {
    const { clock, random, news } = this.#options;
    let succeeded = true;
    for (const follower of this.#realms.values()) {
      if (this.#stopped) return;
      if (!(await follower.look())) succeeded = false;
    }
    if (this.#stopped) return;
    const every = succeeded && news?.connected === true ? CHECK_WITH_NEWS : CHECK_WITHOUT_NEWS;
    // A quarter more or less, so that a fleet does not ask in one moment.
    const jitter = 0.75 + (random.bytes(1)[0] ?? 0) / 512;
    this.#cancelTimer?.();
    this.#cancelTimer = clock.schedule(every * jitter, () => void this.#look());
  }
}

function pendingKey({ subject, sessionId }: EndNews): string {
  return `pending ${subject} ${sessionId}`;
}
