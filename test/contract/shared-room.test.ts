import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { makeSharedRoom } from '#src/adapters/shared/shared-room.ts';
import { StoreDependencies } from '#src/adapters/shared/store-dependencies.ts';
import { SqlChallengeStore } from '#src/adapters/sql/challenge-store.ts';
import { SqlSessionStore } from '#src/adapters/sql/session-store.ts';
import { systemClock, systemRandom } from '#src/adapters/system.ts';
import { Fault } from '#src/domain/faults.ts';
import { livenessAt, type Session } from '#src/domain/session.ts';
import { SessionCache } from '#src/services/sessions/session-cache.ts';
import { PostgresServer } from '../../scripts/servers/postgres.ts';
import { type RedisServer, startRedis } from '../../scripts/servers/redis.ts';
import { eventually } from '../support/eventually.ts';
import { SILENT, TEST_RING } from '../support/local-stores.ts';
import { MemoryTrail } from '../support/memory-trail.ts';
import { newDatabase, openExecutor } from '../support/postgres-stores.ts';
import { CountingMetrics } from '../support/recording-telemetry.ts';
import { PATIENT_MS, RedisFront, targetOf } from '../support/redis-front.ts';
import { took } from '../support/running-time.ts';
import { digest, eventOf, id, person, REALM, sessionOf } from '../support/store-samples.ts';

/** What many sidecars do with one PostgreSQL and one Redis that are real, and fail for real. */

let postgres: PostgresServer;
let redis: RedisServer;
let url: string;
beforeAll(async () => {
  [postgres, redis] = await Promise.all([PostgresServer.start(), startRedis()]);
  ({ url } = await newDatabase(postgres));
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await redis[Symbol.asyncDispose]();
});

interface Sidecar {
  readonly withRedis?: boolean;
  /** How soon it gives PostgreSQL up; patient if left out. */
  readonly times?: { readonly timeoutMs: number; readonly readTimeoutMs: number; readonly lookTimeoutMs: number };
}

const PATIENT = { timeoutMs: 20_000, readTimeoutMs: 20_000, lookTimeoutMs: 20_000 };
const HASTY = { timeoutMs: 1_000, readTimeoutMs: 300, lookTimeoutMs: 400 };

/** One sidecar, as far as sessions go. Redis is killed here and not frozen, so nobody has to notice that it is silent. */
async function sidecar({ withRedis = true, times: { lookTimeoutMs, ...times } = PATIENT }: Sidecar = {}) {
  const { executor, pool, close } = openExecutor({ url, trail: new MemoryTrail(), ...times });
  const target = targetOf({ at: [redis.address], timeoutMs: PATIENT_MS });
  const front = withRedis ? await RedisFront.start(target, { keepaliveMs: PATIENT_MS }) : undefined;
  const room = makeSharedRoom({
    sessions: new SqlSessionStore(executor, new AesGcmSecretBox({ ring: TEST_RING, random: systemRandom })),
    challenges: new SqlChallengeStore(executor),
    front: front && {
      sessions: front.sessions,
      challenges: front.challenges,
      pendingEnds: front.ends,
      news: front.news,
    },
    dependencies: new StoreDependencies(front ? [pool.breaker, front.connection] : [pool.breaker]),
    realms: [REALM],
    longestOutageMs: 60_000,
    lookTimeoutMs,
    retryAfterMs: 1_000,
    clock: systemClock,
    random: systemRandom,
    log: SILENT,
    metrics: new CountingMetrics(),
  });
  await room.start();
  const cache = new SessionCache(room.signals, 1_000);
  const create = async (subject = person()): Promise<Session> => {
    const now = Date.now();
    const times = { createdAt: now, lastUsedAt: now, expiresAt: now + 3_600_000, idleMs: 3_600_000 };
    const session = sessionOf({ id: id('session'), subject, tokenDigest: digest(), ...times });
    const command = { session, cap: 5, policy: 'evict_oldest', endSessionIds: [], now, events: [] } as const;
    const made = await room.sessions.create({ ...command, evictionEvent: eventOf('session.ended') });
    expect(made.outcome).toBe('created');
    return session;
  };
  const validate = async ({ tokenDigest }: Session): Promise<'memory' | 'store' | 'no' | 'unavailable'> => {
    if (cache.get(REALM, tokenDigest, Date.now())) return 'memory';
    const fence = cache.fence();
    try {
      const session = await room.sessions.findByTokenDigest(REALM, tokenDigest);
      if (!session || !livenessAt(session, Date.now()).alive) return 'no';
      cache.put(session, session.lastUsedAt, fence);
      return 'store';
    } catch (error) {
      if (error instanceof Fault && error.kind === 'unavailable') return 'unavailable';
      throw error;
    }
  };
  const end = async (session: Session) => {
    const target = { kind: 'ids', sessionIds: [session.id] } as const;
    const event = eventOf('session.ended', { subject: session.subject });
    try {
      const ended = await room.sessions.end({ realm: REALM, target, reason: 'REVOKED', now: Date.now(), event });
      return ended.length;
    } catch (error) {
      return error instanceof Fault && error.details.metadata?.['inForce'] === 'true' ? 'in force' : 'refused';
    } finally {
      cache.drop(session.id);
    }
  };
  const stop = async () => {
    await room.stop();
    front?.[Symbol.dispose]();
    await close();
  };
  return { ...room, pool, front, cache, create, validate, end, [Symbol.asyncDispose]: stop };
}

describe('sidecars over one real PostgreSQL and Redis', () => {
  it('refuse at B what was ended at A, at once with Redis and within the second without', async () => {
    for (const [withRedis, limit] of [
      [true, 200],
      [false, 1_000],
    ] as const) {
      await using a = await sidecar({ withRedis });
      await using b = await sidecar({ withRedis });
      const took: number[] = [];
      for (let i = 0; i < 15; i++) {
        const session = await a.create();
        await eventually('known at B', async () => (await b.validate(session)) === 'memory');
        expect(await a.end(session)).toBe(1);
        took.push(await eventually('refused at B', async () => (await b.validate(session)) === 'no'));
      }
      took.sort((x, y) => x - y);
      expect(took[7], JSON.stringify(took)).toBeLessThan(limit);
    }
  });

  it('serve by copies, and keep refusing what ended when Redis comes back from an old dump', async () => {
    await using a = await sidecar();
    await using b = await sidecar();
    const [ended, kept] = [await a.create(), await a.create()];
    for (const { tokenDigest } of [ended, kept])
      await eventually('copied', async () => (await a.front?.sessions.find(REALM, tokenDigest)) !== undefined);
    const dump = await redis.snapshot();
    expect(await a.end(ended)).toBe(1);
    await redis.restart(dump);
    await eventually('both are connected again', () => a.front?.news.connected && b.front?.news.connected);
    await eventually('the copy is back', async () => {
      const copy = await b.front?.sessions.find(REALM, ended.tokenDigest).catch(() => undefined);
      return copy !== undefined;
    });
    for (let i = 0; i < 20; i++) {
      for (const each of [a, b]) expect(await each.validate(ended)).toBe('no');
      await sleep(20);
    }
    for (const each of [a, b]) expect(['store', 'memory']).toContain(await each.validate(kept));
  });

  it('go on without Redis and with it again', async () => {
    await using a = await sidecar();
    await using b = await sidecar();
    const session = await a.create();
    await redis.kill();
    expect(['store', 'memory']).toContain(await b.validate(session));
    expect(await a.end(session)).toBe(1);
    await eventually('refused at B', async () => (await b.validate(session)) === 'no', 1_500);
    await redis.restart();
    await eventually('news come again', () => a.front?.news.connected && b.front?.news.connected);
    const next = await a.create();
    await eventually('known at B', async () => (await b.validate(next)) === 'memory');
    expect(await a.end(next)).toBe(1);
    await eventually('refused at B', async () => (await b.validate(next)) === 'no', 1_500);
  });

  it('answer for known sessions while PostgreSQL is frozen, and put ends in force that are durable afterwards', async () => {
    await using a = await sidecar({ times: HASTY });
    await using b = await sidecar({ times: HASTY });
    const [kept, ...all] = await made(6);
    for (const { tokenDigest } of [kept, ...all])
      await eventually('copied', async () => (await b.front?.sessions.find(REALM, tokenDigest)) !== undefined);
    for (const ended of all)
      await eventually('the copies are believed', async () => (await b.validate(ended)) === 'memory');
    await postgres.freeze();
    try {
      await eventually('A and B notice', () => !a.pool.breaker.up && !b.pool.breaker.up, 10_000);
      expect(['store', 'memory']).toContain(await b.validate(kept));
      for (const ended of all) {
        const { ms } = await took(async () => expect(await a.end(ended)).toBe('in force'));
        expect(ms).toBeLessThan(500);
        for (const each of [a, b])
          await eventually('refused', async () => (await each.validate(ended)) === 'no', 1_500);
      }
      expect(['store', 'memory']).toContain(await b.validate(kept));
      await expect(a.create()).rejects.toMatchObject({ kind: 'unavailable' });
    } finally {
      await postgres.thaw();
    }
    for (const { id: sessionId } of all)
      await eventually(
        'durable',
        async () => (await a.sessions.read(REALM, sessionId).catch(() => undefined))?.endedAt,
      );
    for (const each of [a, b]) {
      await eventually('all is well again', () => each.signals.live && each.pending?.settled);
      for (const ended of all) expect(await answerOf(each, ended)).toBe('no');
      expect(['store', 'memory']).toContain(await answerOf(each, kept));
    }
  });
});

/** Sessions of a sidecar that is patient, and gone by then. */
async function made(count: number): Promise<readonly [Session, ...Session[]]> {
  await using patient = await sidecar();
  const first = await patient.create();
  const more: Session[] = [];
  for (let index = 1; index < count; index += 1) more.push(await patient.create());
  return [first, ...more];
}

/** As somebody gets it who asks again where nobody can say. */
async function answerOf(
  from: Pick<Awaited<ReturnType<typeof sidecar>>, 'validate'>,
  session: Session,
): Promise<string> {
  let answer = await from.validate(session);
  for (let tries = 0; answer === 'unavailable' && tries < 100; tries += 1) {
    await sleep(50);
    answer = await from.validate(session);
  }
  return answer;
}
