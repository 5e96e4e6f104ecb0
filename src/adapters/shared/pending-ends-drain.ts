import { Fault } from '#src/domain/faults.ts';
import { newId } from '#src/domain/ids.ts';
import type { Session } from '#src/domain/session.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Dependencies } from '#src/ports/dependencies.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { SessionPage, SessionStore } from '#src/ports/session-store.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { BlindSpot } from './blind-spot.ts';
import type { EndNews, News, PendingEnd, PendingEnds } from './contract.ts';

/** How often pending ends are looked for while there are some, or may be. */
const LOOK: DurationMs = 1_000;
/** And while there are none: should the news of one have been lost. */
const LOOK_IDLY: DurationMs = 5_000;
const BATCH = 200;
/** Pending ends that one sidecar remembers by itself, should Redis lose them. */
const MAX_KNOWN = 10_000;
/** By how much the clock of the sidecar that began a session may be ahead of the one that ends it. */
const CLOCK_SKEW: DurationMs = 10_000;
/** Sessions of a person per question. */
const SESSIONS = 200;

export interface PendingEndsDrainOptions {
  /** The database itself, not what stands in front of it. */
  readonly store: Pick<SessionStore, 'end' | 'list'>;
  readonly pendingEnds: PendingEnds;
  readonly news: News;
  readonly dependencies: Dependencies;
  /** For what became durable: copies, news, caches, counts. */
  readonly announce: (ended: readonly Session[]) => void;
  /** Told of pending ends that other sidecars took, as far as they name sessions. */
  readonly heard: (ends: readonly EndNews[]) => void;
  /** Resolves with true once all is known that was durable before the call. */
  readonly caughtUp: () => Promise<boolean>;
  /** See BlindSpot. */
  readonly graceMs: DurationMs;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/**
 * Ends that were asked for while PostgreSQL was away: in force from the first moment, durable as soon as it is back. Any
 * sidecar makes them durable, and several at once do no harm. What a sidecar has seen it remembers until then, whatever
 * becomes of Redis.
 */
export class PendingEndsDrain {
  readonly #options: PendingEndsDrainOptions;
  readonly #blindSpot: BlindSpot;
  readonly #known = new Map<string, PendingEnd>();
  /** Pending ends that others told of, should Redis lose them before they are seen here. */
  readonly #hearsay = new Map<string, Named>();
  readonly #stops: (() => void)[] = [];
  #settled = false;
  /** Grows with all that may mean that there are pending ends. */
  #doubts = 0;
  #looking: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;
  #stopped = true;

  constructor(options: PendingEndsDrainOptions) {
    this.#options = options;
    this.#blindSpot = new BlindSpot(options);
  }

  /** Resolves after the first look, whether it succeeded or not. */
  start(): Promise<void> {
    const { dependencies, news } = this.#options;
    this.#stopped = false;
    this.#stops.push(
      dependencies.onChange(() => {
        this.#blindSpot.noteChange();
        this.#doubt();
      }),
      news.onConnected((connected) => {
        this.#blindSpot.noteChange();
        if (connected) this.#doubt();
      }),
      news.onSessionsEnded((ends) => {
        const pending = ends.filter((end) => end.pending === true);
        for (const end of pending)
          if (this.#hearsay.size < MAX_KNOWN) this.#hearsay.set(JSON.stringify(end), namedBy(end));
        if (pending.length > 0) this.#doubt();
      }),
    );
    return this.#look();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelTimer?.();
    for (const stop of this.#stops.splice(0)) stop();
    await this.#looking;
  }

  /** True once there are none and the database is there: then nobody needs to ask `isEnded`. */
  get settled(): boolean {
    return this.#settled;
  }

  /** True while no end is known here and nobody can be asked for others: `isEnded` goes by nothing then. */
  get knowsNone(): boolean {
    return this.#known.size === 0 && this.#hearsay.size === 0 && !this.#isUp('redis');
  }

  /**
   * Whether memory may be answered from as far as pending ends go. While PostgreSQL is back and Redis is there, only once
   * all are durable; without Redis nobody could say, and this sidecar goes by those it has seen, once others have had
   * their time.
   */
  get allowsMemory(): boolean {
    if (this.#blindSpot.isBlind) return false;
    return this.#settled || !this.#isUp('postgres') || !this.#isUp('redis');
  }

  /** In force everywhere when it resolves. Throws Fault(unavailable) when Redis cannot take it. */
  async add(end: PendingEnd): Promise<void> {
    this.#know(end);
    this.#doubt();
    await this.#options.pendingEnds.add(end);
  }

  /** Throws Fault(unavailable) while neither the database nor Redis can say, and for a moment after both were away. */
  async isEnded(session: Session): Promise<boolean> {
    if (this.#settled) return false;
    for (const end of this.#hearsay.values()) if (names(end, session)) return true;
    for (const end of this.#known.values()) if (names(end, session)) return true;
    if (this.#blindSpot.isBlind) throw cannotSay(this.#options.graceMs);
    if (this.#isUp('postgres') && !this.#isUp('redis')) return false;
    try {
      return await this.#options.pendingEnds.isEnded(session);
    } catch (error) {
      if (this.#isUp('postgres')) return false;
      throw error;
    }
  }

  #isUp(name: 'postgres' | 'redis'): boolean {
    return this.#options.dependencies.state(name)?.up !== false;
  }

  #doubt(): void {
    this.#doubts += 1;
    this.#settled = false;
    if (this.#stopped) return;
    void (this.#looking ?? Promise.resolve()).then(() => this.#look());
  }

  #look(): Promise<void> {
    this.#looking ??= this.#lookOnce().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #lookOnce(): Promise<void> {
    if (this.#stopped) return;
    const { clock, log, random } = this.#options;
    const doubts = this.#doubts;
    try {
      await this.#drain(doubts);
    } catch (error) {
      this.#settled = false;
      log.debug('pending ends could not be made durable yet', { error: String(error) });
    }
    if (this.#stopped) return;
    const every = this.#settled ? LOOK_IDLY : LOOK;
    const jitter = 0.75 + (random.bytes(1)[0] ?? 0) / 512;
    this.#cancelTimer?.();
    this.#cancelTimer = clock.schedule(every * jitter, () => void this.#look());
  }

  async #drain(doubts: number): Promise<void> {
    const { caughtUp, heard, log, pendingEnds } = this.#options;
    const listed = this.#isUp('redis') ? await pendingEnds.list(BATCH).catch(() => undefined) : undefined;
    const unheard = (listed ?? []).filter(({ id }) => !this.#known.has(id));
    for (const end of unheard) this.#know(end);
    if (unheard.length > 0) {
      this.#settled = false;
      heard(unheard.flatMap(newsOf));
    }
    if (!this.#isUp('postgres')) return;
    const waiting = new Map([...this.#known, ...(listed ?? []).map((end) => [end.id, end] as const)]);
    for (const end of waiting.values()) {
      // Whoever else reaches both goes on with them, or the next start.
      if (this.#stopped) return;
      const ended = await this.#endDurably(end);
      // Only what is durable is forgotten; it may be in the list no longer.
      if (listed) await pendingEnds.remove(end);
      if (ended > 0) log.info('sessions that were ended in the outage are ended durably', { sessions: ended });
    }
    if (listed && listed.length >= BATCH) return this.#drain(doubts);
    // Whoever drained them, their ends have to be known here before nobody asks for pending ones any more.
    if (!(await caughtUp())) return;
    for (const id of waiting.keys()) this.#known.delete(id);
    const isCertain = listed !== undefined && !this.#blindSpot.isBlind;
    this.#settled = isCertain && this.#known.size === 0 && doubts === this.#doubts;
    if (this.#settled) this.#hearsay.clear();
  }

  /** Ends what the pending end names, as far as it was there then; answers how many sessions this call ended. */
  async #endDurably(end: PendingEnd): Promise<number> {
    const { announce, clock, random, store } = this.#options;
    const { realm, reason, target } = end;
    // Each try has an event of its own: that of one that came to no certain end stays in the trail, named as uncertain.
    const event = { ...end.event, id: newId('event', random.bytes(16)) };
    if (target.kind === 'ids') {
      const ended = await store.end({ realm, target, reason, now: clock.now(), event });
      announce(ended);
      return ended.length;
    }
    // By name, since what began after it was asked for is not meant.
    const sessionIds = await this.#namedBy(end, target.subject);
    if (sessionIds.length === 0) return 0;
    const ids = { kind: 'ids', sessionIds, subject: target.subject } as const;
    const ended = await store.end({ realm, target: ids, reason, now: clock.now(), event });
    announce(ended);
    return ended.length;
  }

  /** Also those that look idle: a use that is noted late could bring one back. */
  async #namedBy(end: PendingEnd, subject: string): Promise<readonly string[]> {
    const { clock, store } = this.#options;
    const found: string[] = [];
    let after: Pick<SessionPage, 'after'> = {};
    for (;;) {
      const query = { realm: end.realm, subject, includeEnded: true, limit: SESSIONS, now: clock.now(), ...after };
      const page = await store.list(query);
      for (const session of page) if (session.endedAt === undefined && names(end, session)) found.push(session.id);
      const last = page.at(-1);
      if (page.length < SESSIONS || last === undefined) return found;
      after = { after: { createdAt: last.createdAt, id: last.id } };
    }
  }

  #know(end: PendingEnd): void {
    if (this.#known.size < MAX_KNOWN) this.#known.set(end.id, end);
    else this.#options.log.error('too many pending ends; relying on Redis for the rest', { known: MAX_KNOWN });
  }
}

/** What says which sessions an end is about. */
type Named = Pick<PendingEnd, 'realm' | 'target' | 'at'>;

/** Whether the pending end is about this session: of a person, those that there were when it was asked for. */
export function names(
  { realm, target, at }: Named,
  session: Pick<Session, 'id' | 'realm' | 'subject' | 'createdAt'>,
): boolean {
  if (session.realm !== realm) return false;
  if (target.kind === 'ids') {
    return target.sessionIds.includes(session.id) && (target.subject ?? session.subject) === session.subject;
  }
  return (
    target.subject === session.subject && session.id !== target.exceptSessionId && session.createdAt <= at + CLOCK_SKEW
  );
}

/** What is told of a pending end before it is durable. */
export function newsOf({ realm, target, reason, at }: PendingEnd): readonly EndNews[] {
  const end = { realm, subject: target.subject ?? '', reason, endedAt: at, pending: true } as const;
  if (target.kind === 'ids') return target.sessionIds.map((sessionId) => ({ ...end, sessionId }));
  return [{ ...end, sessionId: '', exceptSessionId: target.exceptSessionId }];
}

/** The pending end that the news is of, or its part. */
function namedBy({ realm, sessionId, subject, endedAt: at, exceptSessionId = '' }: EndNews): Named {
  if (sessionId === '') return { realm, target: { kind: 'subject', subject, exceptSessionId }, at };
  return { realm, target: { kind: 'ids', sessionIds: [sessionId], ...(subject === '' ? {} : { subject }) }, at };
}

/** What the caller of an end is told that is in force and not durable yet. */
export function inForceNotDurable(retryAfterMs: DurationMs): Fault {
  return new Fault(
    'unavailable',
    'STORE_UNAVAILABLE',
    'the end is in force on every sidecar and becomes durable when the database is back; ask again to be sure',
    { retryAfterMs, metadata: { dependency: 'postgres', inForce: 'true' } },
  );
}

function cannotSay(retryAfterMs: DurationMs): Fault {
  const message = 'Redis and PostgreSQL were away; until all sidecars have told of what they ended nobody can say';
  return new Fault('unavailable', 'STORE_UNAVAILABLE', message, { retryAfterMs, metadata: { dependency: 'postgres' } });
}
