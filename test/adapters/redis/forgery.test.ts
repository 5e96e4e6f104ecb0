import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { systemRandom } from '#src/adapters/system.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import { type RedisServer, startRedis } from '../../../scripts/servers/redis.ts';
import { eventually } from '../../support/eventually.ts';
import { PATIENT_MS, RedisFront, type RedisFrontOptions, targetOf } from '../../support/redis-front.ts';
import { challengeOf, eventOf, id, person, REALM, sessionOf, T0 } from '../../support/store-samples.ts';

describe('somebody else on the same Redis', () => {
  let redis: RedisServer;
  let front: RedisFront;
  /** The one who may do everything in Redis, and has no key. */
  let intruder: Redis;
  const start = (options: RedisFrontOptions = {}) =>
    RedisFront.start(targetOf({ at: [redis.address], timeoutMs: PATIENT_MS }), {
      keepaliveMs: PATIENT_MS,
      ...options,
    });
  beforeAll(async () => {
    redis = await startRedis();
    front = await start();
    intruder = new Redis(redis.port, '127.0.0.1');
  });
  afterAll(async () => {
    intruder.disconnect();
    front[Symbol.dispose]();
    await redis[Symbol.asyncDispose]();
  });

  it('makes no session: copies that were altered, moved or made up are none', async () => {
    const [mine, other] = [sessionOf(), sessionOf()];
    await front.sessions.put({ session: mine, position: 1, mark: 1 });
    const [from, to] = [mine, other].map((session) => front.keys.session(REALM, session.tokenDigest));
    const sealed = await intruder.getBuffer(from ?? '');
    if (!sealed || !from || !to) throw new Error('no copy');
    await intruder.set(to, sealed);
    expect(await front.sessions.find(REALM, other.tokenDigest)).toBeUndefined();
    const realm = front.keys.session('other', mine.tokenDigest);
    await intruder.set(realm, sealed);
    expect(await front.sessions.find('other', mine.tokenDigest)).toBeUndefined();
    for (const value of ['', '0', '0000000000000001', '0000000000000001[1,[1,1,{}]]', 'x'.repeat(500)]) {
      await intruder.set(to, value);
      expect(await front.sessions.find(REALM, other.tokenDigest)).toBeUndefined();
    }
    const altered = Buffer.from(sealed);
    altered[60] = (altered[60] ?? 0) ^ 1;
    await intruder.set(from, altered);
    expect(await front.sessions.find(REALM, mine.tokenDigest)).toBeUndefined();
  });

  it('makes no copy look newer than it is', async () => {
    const session = sessionOf();
    await front.sessions.put({ session, position: 41, mark: 7 });
    const key = front.keys.session(REALM, session.tokenDigest);
    await intruder.setrange(key, 0, '0000000000000099');
    expect(await front.sessions.find(REALM, session.tokenDigest)).toMatchObject({ position: 41, mark: 7 });
  });

  it('holds up no copy with rubbish in front', async () => {
    const session = sessionOf();
    await intruder.set(front.keys.session(REALM, session.tokenDigest), 'zzzzzzzzzzzzzzzzzzzzzzzz');
    await front.sessions.put({ session, position: 1, mark: 1 });
    expect((await front.sessions.find(REALM, session.tokenDigest))?.position).toBe(1);
  });

  it('approves no challenge', async () => {
    const challenge = challengeOf();
    await front.challenges.put(challenge);
    const key = front.keys.challenge(REALM, challenge.id);
    await intruder.set(key, `0000000000000009${JSON.stringify([1, { ...challenge, state: 'APPROVED' }])}`);
    expect(await front.challenges.find(REALM, challenge.id)).toBeUndefined();
  });

  it('says no news; what is malformed, of another channel or another release is counted', async () => {
    const [followed, other] = [challengeOf(), challengeOf()];
    const told: Challenge[] = [];
    await front.news.followChallenge(followed.id, (challenge) => told.push(challenge));
    const channel = front.keys.challengeNews(followed.id);
    const listener = new Redis(redis.port, '127.0.0.1');
    const heard: Buffer[] = [];
    listener.on('messageBuffer', (_: Buffer, message: Buffer) => heard.push(message));
    await listener.subscribe(front.keys.challengeNews(other.id));
    using sidecar = await start();
    await sidecar.news.challengeChanged({ ...other, state: 'APPROVED', settledAt: T0 });
    await eventually('overheard', () => heard.length === 1);
    listener.disconnect();
    const [real = Buffer.alloc(0)] = heard;
    const release = Buffer.from(real);
    release[0] = 2;
    const before = front.malformed;
    const forged = ['', 'x', '{"kind":"challenge"}', real, release, real.subarray(0, 20), Buffer.alloc(70_000, 1)];
    for (const message of forged) await intruder.publish(channel, message);
    await eventually('counted', () => front.malformed === before + forged.length);
    expect(told).toEqual([]);
    expect(front.news.connected).toBe(true);
  });

  it('takes no session for ended that is not, under other keys or another prefix', async () => {
    const session = sessionOf();
    using stranger = await start({ ring: createKeyRing(systemRandom) });
    using product = await start({ prefix: 'other-product' });
    const end = {
      id: id('event'),
      realm: REALM,
      target: { kind: 'ids' as const, sessionIds: [session.id] },
      reason: 'REVOKED' as const,
      at: T0,
      event: eventOf('session.ended'),
    };
    for (const one of [stranger, product]) {
      await one.sessions.put({ session, position: 5, mark: 1 });
      await one.ends.add(end);
      await one.news.sessionsEnded([
        { realm: REALM, sessionId: session.id, subject: person(), reason: 'REVOKED', endedAt: T0 },
      ]);
    }
    expect(await front.ends.isEnded(session)).toBe(false);
    expect(await product.sessions.find(REALM, session.tokenDigest)).toMatchObject({ position: 5 });
    expect(await front.sessions.find(REALM, session.tokenDigest)).toBeUndefined();
    expect(await front.ends.list(10)).toEqual([]);
    expect(await stranger.ends.list(10)).toEqual([end]);
  });

  it('loosens no end with rubbish in the notes', async () => {
    const session = sessionOf();
    await intruder.hset(front.keys.endedSubject(REALM, session.subject), 'x', 'not an instant');
    expect(await front.ends.isEnded(session)).toBe(true);
  });
});
