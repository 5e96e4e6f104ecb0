import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { startSentinel } from '../../../scripts/servers/redis-sentinel.ts';
import { eventually } from '../../support/eventually.ts';
import { RedisFront, targetOf } from '../../support/redis-front.ts';
import { challengeOf, REALM, sessionOf } from '../../support/store-samples.ts';

const writes = (front: RedisFront, position: number) =>
  front.sessions.put({ session: sessionOf(), position, mark: 0 }).then(
    () => true,
    () => false,
  );

describe('Redis under Sentinels', () => {
  it('takes writes and tells news again after a failover, without anybody doing anything', async () => {
    await using redis = await startSentinel({ downAfterMs: 500 });
    const start = () =>
      RedisFront.start(targetOf({ mode: 'sentinel', at: redis.addresses, timeoutMs: 1_000 }), { keepaliveMs: 1_000 });
    using front = await start();
    using other = await start();
    const challenge = challengeOf();
    const told: string[] = [];
    await front.news.followChallenge(challenge.id, ({ id }) => told.push(id));
    const session = sessionOf();
    await front.sessions.put({ session, position: 5, mark: 1 });

    const old = await redis.master();
    await old.kill();
    await eventually('doubt', () => !front.news.connected, 1_000);
    const took = await eventually('writes', () => writes(front, 1), 15_000);
    // Down after half a second, then a vote and a promotion.
    expect(took).toBeLessThan(10_000);
    await eventually('news', () => front.news.connected, 5_000);
    await eventually('the other too', () => writes(other, 2), 5_000);
    await other.news.challengeChanged(challenge);
    await eventually('told', () => told.length === 1);
    expect(await redis.master()).not.toBe(old);
  }, 40_000);

  it('leaves a master that froze for the one that took its place', async () => {
    await using redis = await startSentinel({ downAfterMs: 500 });
    // Longer than a hitch, since no write may fail in the end.
    using front = await RedisFront.start(targetOf({ mode: 'sentinel', at: redis.addresses, timeoutMs: 1_000 }));
    const old = await redis.master();
    await old.freeze();
    await eventually('away', async () => !(await writes(front, 1)) && !front.connection.state.up, 10_000);
    await redis.failedOverFrom(old);
    await eventually('writes', () => writes(front, 2), 5_000);
    await eventually('news', () => front.news.connected, 5_000);
    // The old one wakes up as a replica: nobody writes to it.
    await old.thaw();
    for (let round = 0; round < 20; round++) {
      expect(await writes(front, round)).toBe(true);
      await sleep(20);
    }
    const session = sessionOf();
    await front.sessions.put({ session, position: 1, mark: 0 });
    const master = await redis.master();
    expect(await master.cli('EXISTS', front.keys.session(REALM, session.tokenDigest))).toBe('1');
  }, 40_000);

  it('is found when Sentinels are gone, as long as one is there', async () => {
    await using redis = await startSentinel({ downAfterMs: 10_000 });
    const [first, second] = redis.sentinels;
    await first?.kill();
    await second?.freeze();
    using front = await RedisFront.start(targetOf({ mode: 'sentinel', at: redis.addresses }));
    await eventually('writes', () => writes(front, 1), 5_000);
    await eventually('news', () => front.news.connected, 5_000);
  }, 40_000);

  it('is away when all Sentinels are gone from the beginning', async () => {
    const redis = await startSentinel({ downAfterMs: 10_000 });
    await redis[Symbol.asyncDispose]();
    using front = await RedisFront.start(targetOf({ mode: 'sentinel', at: redis.addresses }));
    expect([front.connection.state.up, front.news.connected]).toEqual([false, false]);
    expect(await writes(front, 1)).toBe(false);
  }, 40_000);
});
