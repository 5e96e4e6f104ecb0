import type { EndNews } from '#src/adapters/shared/contract.ts';
import { makeSharedRoom } from '#src/adapters/shared/shared-room.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { Fault } from '#src/domain/faults.ts';
import { livenessAt, type Session } from '#src/domain/session.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { EndSessions, SessionStore } from '#src/ports/session-store.ts';
import { SessionCache } from '#src/services/sessions/session-cache.ts';
import { ManualClock, settle } from './clock.ts';
import { FakeDependencies } from './fake-dependencies.ts';
import { MemoryChallengeState, MemoryChallengeStore } from './memory-challenge-store.ts';
import { MemoryRedis, MemoryRedisFront } from './memory-copies.ts';
import { MemoryNewsBus } from './memory-news.ts';
import { MemorySessionStore } from './memory-session-store.ts';
import { SeededRandom } from './random.ts';
import { CountingMetrics, RecordingLog } from './recording-telemetry.ts';
import { eventOf, REALM, sessionOf } from './store-samples.ts';

export interface SharedWorldOptions {
  readonly longestOutageMs?: DurationMs;
  /** Without Redis. */
  readonly alone?: boolean;
  readonly seed?: string;
}

/** Sidecars over one database and one Redis, all in memory, with one clock that stands still. */
export function sharedWorld({ longestOutageMs = 60_000, alone = false, seed = 'shared' }: SharedWorldOptions = {}) {
  const clock = new ManualClock();
  const database = new MemorySessionStore();
  const challengeState = new MemoryChallengeState();
  const challenges = new MemoryChallengeStore(challengeState);
  const redis = new MemoryRedis();
  const bus = new MemoryNewsBus();
  const sidecar = (name: string) => {
    const log = new RecordingLog();
    const dependencies = new FakeDependencies(clock, alone ? ['postgres'] : ['redis', 'postgres']);
    const gate: Gate = { away: false, logAway: false, lookedForChallenges: 0 };
    const front = new MemoryRedisFront(redis);
    const news = bus.join();
    const reached = gated(database, gate);
    const room = makeSharedRoom({
      sessions: reached,
      challenges: gatedChallenges(challenges, challengeState, gate),
      front: alone
        ? undefined
        : { sessions: front.sessions, challenges: front.challenges, pendingEnds: front.pendingEnds, news },
      dependencies,
      realms: [REALM],
      longestOutageMs,
      lookTimeoutMs: 200,
      retryAfterMs: 1_000,
      clock,
      random: new SeededRandom(`${seed} ${name}`),
      log,
      metrics: new CountingMetrics(),
    });
    const cache = new SessionCache(room.signals, 1_000);
    const told: string[] = [];
    room.signals.onSessionsEnded((ends) => told.push(...ends.map((end) => `ended ${nameOf(end)}`)));
    room.signals.onSessionsChanged((ids) => told.push(...ids.map((id) => `changed ${id}`)));
    return {
      ...room,
      name,
      log,
      dependencies,
      front,
      news,
      cache,
      gate,
      /** What was told of what happened, here and elsewhere. */
      told,
      /** PostgreSQL cannot be reached from here, and it is known. */
      losePostgres: () => {
        gate.away = true;
        dependencies.leave('postgres');
      },
      findPostgres: () => {
        gate.away = false;
        dependencies.comeBack('postgres');
      },
      loseRedis: () => {
        front.away = true;
        dependencies.leave('redis');
        news.disconnect();
      },
      findRedis: () => {
        front.away = false;
        dependencies.comeBack('redis');
        news.reconnect();
      },
      /** As ValidateSession does it: by memory if it may, otherwise by the store. */
      validate: async (tokenDigest: string): Promise<'memory' | 'store' | 'no' | 'unavailable'> => {
        if (cache.get(REALM, tokenDigest, clock.now())) return 'memory';
        const fence = cache.fence();
        try {
          const session = await room.sessions.findByTokenDigest(REALM, tokenDigest);
          if (!session || !livenessAt(session, clock.now()).alive) return 'no';
          cache.put(session, session.lastUsedAt, fence);
          return 'store';
        } catch (error) {
          if (error instanceof Fault && error.kind === 'unavailable') return 'unavailable';
          throw error;
        }
      },
      create: async (fields: Partial<Session> = {}): Promise<Session> => {
        const now = clock.now();
        const session = sessionOf({
          createdAt: now,
          lastUsedAt: now,
          expiresAt: now + 86_400_000,
          idleMs: 3_600_000,
          ...fields,
        });
        const made = await room.sessions.create({
          session,
          cap: 100,
          policy: 'evict_oldest',
          endSessionIds: [],
          now,
          events: [],
          evictionEvent: eventOf('session.ended'),
        });
        if (made.outcome !== 'created') throw new Error(`expected a session, got ${made.outcome}`);
        return session;
      },
      /** As the services do it: durable, out of the cache, then told here. */
      end: async (target: EndSessions['target']): Promise<'ended' | 'in force' | 'refused'> => {
        const event: EventDraft = eventOf('session.ended', { at: clock.now() });
        try {
          const command: EndSessions = { realm: REALM, target, reason: 'REVOKED', now: clock.now(), event };
          const ended = await room.sessions.end(command);
          for (const { id } of ended) cache.drop(id);
          room.signals.sessionsEnded(ended.map(endOf));
          return 'ended';
        } catch (error) {
          cache.clear();
          if (!(error instanceof Fault) || error.kind !== 'unavailable') throw error;
          return error.details.metadata?.['inForce'] === 'true' ? 'in force' : 'refused';
        }
      },
      rotate: async (session: Session, newTokenDigest: string): Promise<Session | undefined> => {
        try {
          const result = await room.sessions.rotate({
            realm: REALM,
            sessionId: session.id,
            oldTokenDigest: session.tokenDigest,
            newTokenDigest,
            amr: [],
            acr: 'aal2',
            clearRisk: false,
            receipt: { receiptId: `rcp ${newTokenDigest}`, expiresAt: Number.MAX_SAFE_INTEGER },
            now: clock.now(),
            events: [],
          });
          return result.outcome === 'rotated' ? result.session : undefined;
        } catch (error) {
          if (error instanceof Fault && error.kind === 'unavailable') return undefined;
          throw error;
        } finally {
          cache.drop(session.id);
        }
      },
    };
  };
  return { clock, database, challengeState, challenges, redis, bus, sidecar, settle };
}

export type SharedSidecar = ReturnType<ReturnType<typeof sharedWorld>['sidecar']>;

interface Gate {
  away: boolean;
  /** The log of changes alone. */
  logAway: boolean;
  /** Questions after challenges that are followed. */
  lookedForChallenges: number;
}

/** The database as one sidecar reaches it. */
function gated(store: SessionStore, gate: Gate): SessionStore {
  const passed =
    <A extends readonly unknown[], R>(call: (...args: A) => Promise<R>) =>
    (...args: A): Promise<R> =>
      gate.away ? Promise.reject(refusal()) : call(...args);
  return {
    create: passed((command) => store.create(command)),
    findByTokenDigest: passed((realm, digest) => store.findByTokenDigest(realm, digest)),
    read: passed((realm, id) => store.read(realm, id)),
    list: passed((page) => store.list(page)),
    touch: passed((uses) => store.touch(uses)),
    rotate: passed((command) => store.rotate(command)),
    setLabels: passed((command) => store.setLabels(command)),
    noteRisk: passed((command) => store.noteRisk(command)),
    end: passed((command) => store.end(command)),
    due: passed((now, limit) => store.due(now, limit)),
    revocationsAfter: passed((realm, position, limit) => store.revocationsAfter(realm, position, limit)),
    changesAfter: passed((realm, position, limit) =>
      gate.logAway ? Promise.reject(refusal()) : store.changesAfter(realm, position, limit),
    ),
    purge: passed((before, limit) => store.purge(before, limit)),
  };
}

function gatedChallenges(store: MemoryChallengeStore, state: MemoryChallengeState, gate: Gate) {
  const passed =
    <A extends readonly unknown[], R>(call: (...args: A) => Promise<R>) =>
    (...args: A): Promise<R> =>
      gate.away ? Promise.reject(refusal()) : call(...args);
  return {
    open: passed((command: Parameters<typeof store.open>[0]) => store.open(command)),
    read: passed((realm: string, id: string) => store.read(realm, id)),
    advance: passed((command: Parameters<typeof store.advance>[0]) => store.advance(command)),
    repeatOf: passed((...args: Parameters<typeof store.repeatOf>) => store.repeatOf(...args)),
    noteDelivery: passed((command: Parameters<typeof store.noteDelivery>[0]) => store.noteDelivery(command)),
    openOf: passed((...args: Parameters<typeof store.openOf>) => store.openOf(...args)),
    approve: passed((command: Parameters<typeof store.approve>[0]) => store.approve(command)),
    settle: passed((command: Parameters<typeof store.settle>[0]) => store.settle(command)),
    burnReceipt: passed((command: Parameters<typeof store.burnReceipt>[0]) => store.burnReceipt(command)),
    due: passed((now: number, limit: number) => store.due(now, limit)),
    purge: passed((before: number, limit: number) => store.purge(before, limit)),
    movedAmong: passed((ids: readonly string[]) => {
      gate.lookedForChallenges += 1;
      return state.intent(() =>
        [...state.challenges.values()].filter((each) => ids.includes(each.id) && each.state !== 'PENDING'),
      );
    }),
  };
}

function refusal(): Fault {
  return new Fault('unavailable', 'STORE_UNAVAILABLE', 'postgres is away; try again in a moment', {
    retryAfterMs: 1_000,
  });
}

function endOf({ realm, id, subject, endReason = 'REVOKED', endedAt = 0 }: Session): EndNews {
  return { realm, sessionId: id, subject, reason: endReason, endedAt };
}

function nameOf({ sessionId, subject }: { readonly sessionId: string; readonly subject: string }): string {
  return sessionId === '' ? `all of ${subject}` : sessionId;
}
