import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../../../scripts/servers/redis.ts';
import { eventually } from '../../support/eventually.ts';
import { PATIENT_MS, RedisFront, type RedisFrontOptions, sampleClock, targetOf } from '../../support/redis-front.ts';
import { type Took, took } from '../../support/running-time.ts';
import { challengeOf, digest, eventOf, id, person, REALM, sessionOf, T0 } from '../../support/store-samples.ts';

const TIMEOUT_MS = 100;
/** Timers and a busy machine. */
const MARGIN_MS = 100;
/** Refused without waiting for anything. */
const AT_ONCE_MS = 40;
const unavailable = { name: 'Fault', kind: 'unavailable', reason: 'STORE_UNAVAILABLE' };

let open: AsyncDisposableStack | undefined;
afterEach(() => open?.disposeAsync());

async function begin(
  settings: Readonly<Record<string, string>> = {},
  { timeoutMs = TIMEOUT_MS, ...options }: RedisFrontOptions & { readonly timeoutMs?: number } = {},
) {
  open = new AsyncDisposableStack();
  const redis = open.use(await startRedis({ settings }));
  const front = open.use(await RedisFront.start(targetOf({ at: [redis.address], timeoutMs }), options));
  return { redis, front, more: async () => open?.use(await sidecarAt(redis)) };
}

const sidecarAt = (redis: RedisServer) => RedisFront.start(targetOf({ at: [redis.address], timeoutMs: TIMEOUT_MS }));

/** How long a call took to be refused. */
const refusal = (call: () => Promise<unknown>): Promise<Took> =>
  took(() => expect(call()).rejects.toMatchObject(unavailable));

const find = (front: RedisFront) => front.sessions.find(REALM, digest());
const serves = (front: RedisFront) =>
  find(front).then(
    () => true,
    () => false,
  );
const put = (front: RedisFront) => front.sessions.put({ session: sessionOf(), position: 1, mark: 1 });
const endOf = (sessionId: string) => ({
  id: id('event'),
  realm: REALM,
  target: { kind: 'ids' as const, sessionIds: [sessionId] },
  reason: 'REVOKED' as const,
  at: T0,
  event: eventOf('session.ended'),
});

describe('a Redis that is killed', () => {
  it('is not waited for, counts as away, and is back without anybody doing anything', async () => {
    const { redis, front } = await begin();
    await redis.kill();
    for (let call = 0; call < 5; call++)
      expect((await refusal(() => find(front))).ms).toBeLessThan(TIMEOUT_MS + MARGIN_MS);
    await eventually('away', () => !front.connection.state.up);
    await redis.restart();
    await eventually('back', () => serves(front));
    await put(front);
  });

  it('counts as away soon even while nobody calls', async () => {
    const { redis, front } = await begin();
    await redis.kill();
    expect(await eventually('away', () => !front.connection.state.up)).toBeLessThan(1_000);
  });

  it('is no reason not to start, and is found when it comes', async () => {
    const { redis, front: other } = await begin();
    other[Symbol.dispose]();
    await redis.kill();
    let front: RedisFront | undefined;
    const { ms } = await took(async () => {
      front = open?.use(await sidecarAt(redis));
    });
    expect(ms).toBeLessThan(2_000);
    if (!front) throw new Error('not started');
    const started = front;
    expect([started.connection.state.up, started.news.connected]).toEqual([false, false]);
    expect((await refusal(() => find(started))).ms).toBeLessThan(AT_ONCE_MS);
    await redis.restart();
    await eventually('back', () => started.connection.state.up && started.news.connected);
    await put(started);
  });

  it('tells news again after it was started again', async () => {
    const { redis, front, more } = await begin({}, { keepaliveMs: 1_000 });
    const other = await more();
    if (!other) throw new Error('not started');
    const challenge = challengeOf();
    const told: string[] = [];
    const states: boolean[] = [];
    front.news.onConnected((connected) => states.push(connected));
    await front.news.followChallenge(challenge.id, () => told.push('challenge'));
    front.news.onSessionsEnded(() => told.push('session'));
    await redis.kill();
    expect(await eventually('doubt', () => !front.news.connected)).toBeLessThan(200);
    await redis.restart();
    await eventually('back', () => front.news.connected);
    await eventually('serves', () => serves(other));
    await other.news.challengeChanged(challenge);
    await other.news.sessionsEnded([
      { realm: REALM, sessionId: id('session'), subject: person(), reason: 'REVOKED', endedAt: T0 },
    ]);
    await eventually('told', () => told.length === 2);
    expect(states).toEqual([false, true]);
  });
});

describe('a Redis that is frozen', () => {
  it('costs the time-out a few times, then nothing, and is back when it thaws', async () => {
    // The news would notice too, and count as failures of their own.
    const { redis, front } = await begin({}, { keepaliveMs: PATIENT_MS });
    await redis.freeze();
    for (let call = 0; call < 3; call++) {
      const { ms, elapsedMs } = await refusal(() => (call % 2 ? put(front) : find(front)));
      expect(elapsedMs).toBeGreaterThan(TIMEOUT_MS - 5);
      expect(ms).toBeLessThan(TIMEOUT_MS + MARGIN_MS);
    }
    expect(front.connection.state.up).toBe(false);
    for (let call = 0; call < 50; call++) expect((await refusal(() => find(front))).ms).toBeLessThan(AT_ONCE_MS);
    await sleep(600);
    expect(front.connection.state.up).toBe(false);
    await redis.thaw();
    await eventually('back', () => front.connection.state.up);
    await put(front);
  });

  it('is in doubt for news within a second, and heard again when it thaws', async () => {
    const { redis, front } = await begin();
    await sleep(350);
    await redis.freeze();
    expect(await eventually('doubt', () => !front.news.connected)).toBeLessThan(1_000);
    await expect(front.news.followChallenge('chl_1', () => {})).rejects.toMatchObject(unavailable);
    await redis.thaw();
    await eventually('back', () => front.news.connected);
  });

  it('counts as away soon although nobody calls', async () => {
    const { redis, front } = await begin();
    await redis.freeze();
    expect(await eventually('away', () => !front.connection.state.up)).toBeLessThan(1_500);
    await redis.thaw();
    await eventually('back', () => front.connection.state.up && front.news.connected);
  });

  it('holds no more commands than the bound', async () => {
    const { redis, front } = await begin({}, { maxInFlight: 10, failures: 100, keepaliveMs: PATIENT_MS });
    await redis.freeze();
    const refusals = await Promise.all(Array.from({ length: 30 }, () => refusal(() => find(front))));
    expect(refusals.filter(({ ms }) => ms < AT_ONCE_MS)).toHaveLength(20);
    expect(refusals.filter(({ elapsedMs }) => elapsedMs > TIMEOUT_MS - 5)).toHaveLength(10);
  });
});

describe('a Redis that takes no writes', () => {
  it('is away as a whole while it is a replica, although it answers reads', async () => {
    const { redis, front } = await begin({ 'replica-serve-stale-data': 'yes' }, { timeoutMs: PATIENT_MS });
    await redis.cli('REPLICAOF', '127.0.0.1', '1');
    await refusal(() => put(front));
    expect(front.connection.state.up).toBe(false);
    await sleep(500);
    expect(front.connection.state.up).toBe(false);
    expect(front.log.lines.join()).toContain('READONLY');
    await redis.cli('REPLICAOF', 'NO', 'ONE');
    await eventually('back', () => front.connection.state.up);
    await put(front);
  });

  it('is away as a whole while its memory is full', async () => {
    const { redis, front } = await begin({ 'maxmemory-policy': 'noeviction' }, { timeoutMs: PATIENT_MS });
    await redis.cli('CONFIG', 'SET', 'maxmemory', '1');
    await refusal(() => put(front));
    expect(front.connection.state.up).toBe(false);
    await sleep(400);
    expect(front.connection.state.up).toBe(false);
    expect((await refusal(() => front.ends.add(endOf(id('session'))))).ms).toBeLessThan(AT_ONCE_MS);
    await redis.cli('CONFIG', 'SET', 'maxmemory', '0');
    await eventually('back', () => front.connection.state.up);
    await put(front);
  });

  it('is in doubt for news too, although the subscriptions stand, since nobody can say anything', async () => {
    const { redis, front } = await begin({ 'maxmemory-policy': 'noeviction' }, { timeoutMs: PATIENT_MS });
    await eventually('connected', () => front.news.connected);
    const states: boolean[] = [];
    front.news.onConnected((connected) => states.push(connected));
    await redis.cli('CONFIG', 'SET', 'maxmemory', '1');
    await refusal(() => put(front));
    expect(front.news.connected).toBe(false);
    await expect(front.news.followChallenge('chl_1', () => {})).rejects.toMatchObject(unavailable);
    await redis.cli('CONFIG', 'SET', 'maxmemory', '0');
    await eventually('back', () => front.news.connected);
    expect(states).toEqual([false, true]);
  });
});

describe('a Redis that forgets', () => {
  it('has no copies after FLUSHALL, and takes new ones', async () => {
    const { redis, front } = await begin({}, { timeoutMs: PATIENT_MS });
    const session = sessionOf();
    await front.sessions.put({ session, position: 9, mark: 1 });
    await front.ends.add(endOf(session.id));
    await redis.cli('FLUSHALL');
    expect(await front.sessions.find(REALM, session.tokenDigest)).toBeUndefined();
    expect(await front.ends.list(10)).toEqual([]);
    await front.sessions.put({ session, position: 2, mark: 1 });
    expect((await front.sessions.find(REALM, session.tokenDigest))?.position).toBe(2);
  });

  it('is told its scripts again after SCRIPT FLUSH, many calls at once', async () => {
    const { redis, front } = await begin({}, { timeoutMs: PATIENT_MS });
    await put(front);
    await redis.cli('SCRIPT', 'FLUSH', 'SYNC');
    await Promise.all(Array.from({ length: 20 }, () => put(front)));
    expect(front.connection.state.up).toBe(true);
  });

  it('refuses ends beyond the bound, but lets them take effect', async () => {
    const { front } = await begin({}, { maxEnds: 2, timeoutMs: PATIENT_MS });
    const sessions = [sessionOf(), sessionOf(), sessionOf()];
    const [one, two, three] = sessions.map((session) => endOf(session.id));
    if (!one || !two || !three) throw new Error('no samples');
    await front.ends.add(one);
    await front.ends.add(two);
    await refusal(() => front.ends.add(three));
    await front.ends.add(one);
    expect(await Promise.all(sessions.map((session) => front.ends.isEnded(session)))).toEqual([true, true, true]);
    await front.ends.remove(one);
    await front.ends.add(three);
    expect(front.connection.state.up).toBe(true);
  });
});

describe('a sidecar that stood still', () => {
  it('does not take news for complete before it has heard of Redis again', async () => {
    let stoodMs = 0;
    const clock = { ...sampleClock, monotonic: () => sampleClock.monotonic() + stoodMs };
    const { front } = await begin({}, { clock, timeoutMs: PATIENT_MS, keepaliveMs: 1_000 });
    const said: boolean[] = [];
    front.news.onConnected((connected) => said.push(connected));
    expect(front.news.connected).toBe(true);
    stoodMs = 60_000;
    expect(front.news.connected).toBe(false);
    await eventually('heard again', () => front.news.connected);
    // The connection stood all the time, and Redis had kept what it said.
    expect(said).toEqual([]);
  });
});
