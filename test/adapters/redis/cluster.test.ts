import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RedisServer } from '../../../scripts/servers/redis.ts';
import { type RedisCluster, startRedisCluster } from '../../../scripts/servers/redis-cluster.ts';
import { eventually } from '../../support/eventually.ts';
import { PATIENT_MS, RedisFront, targetOf } from '../../support/redis-front.ts';
import { took } from '../../support/running-time.ts';
import { challengeOf, eventOf, id, REALM, sessionOf, T0 } from '../../support/store-samples.ts';

const TIMEOUT_MS = 150;
/** Timers and a busy machine. */
const MARGIN_MS = 100;
/** Refused without waiting for anything. */
const AT_ONCE_MS = 60;

describe('Redis Cluster', () => {
  let redis: RedisCluster;
  let front: RedisFront;
  const start = (timeoutMs = PATIENT_MS) =>
    RedisFront.start(targetOf({ mode: 'cluster', at: redis.addresses, timeoutMs }), { keepaliveMs: 1_000 });
  beforeAll(async () => {
    redis = await startRedisCluster({ nodeTimeoutMs: 1_000 });
    front = await start();
  }, 40_000);
  afterAll(async () => {
    front[Symbol.dispose]();
    await redis[Symbol.asyncDispose]();
  }, 40_000);

  const another = (than: RedisServer): RedisServer => {
    const node = redis.nodes.find((one) => one !== than);
    if (!node) throw new Error('a Cluster of one');
    return node;
  };
  const endOf = (sessionId: string) => ({
    id: id('event'),
    realm: REALM,
    target: { kind: 'ids' as const, sessionIds: [sessionId] },
    reason: 'REVOKED' as const,
    at: T0,
    event: eventOf('session.ended'),
  });
  const serves = (one: RedisFront) => {
    const puts = Array.from({ length: 12 }, () => one.sessions.put({ session: sessionOf(), position: 1, mark: 0 }));
    return Promise.all(puts).then(
      () => true,
      () => false,
    );
  };

  it('spreads copies over all nodes', async () => {
    const sessions = Array.from({ length: 60 }, () => sessionOf());
    await Promise.all(sessions.map((session) => front.sessions.put({ session, position: 1, mark: 0 })));
    const sizes = await Promise.all(redis.nodes.map((node) => node.cli('DBSIZE')));
    expect(sizes.filter((size) => Number(size) >= 10)).toHaveLength(3);
  });

  it('is followed while a slot with copies moves: asked half-way, moved at the end, and nothing is missed', async () => {
    const session = sessionOf();
    const key = front.keys.session(REALM, session.tokenDigest);
    await front.sessions.put({ session, position: 3, mark: 0 });
    const slot = await redis.slotOf(key);
    const [from, to] = [await redis.ownerOf(slot), another(await redis.ownerOf(slot))];
    // A copy of the same slot that is not there yet: half-way its place is the new node.
    await to.cli('SCRIPT', 'FLUSH');
    let calls = 0;
    let misses = 0;
    let going = true;
    const traffic = async () => {
      while (going) {
        calls += 1;
        if ((await front.sessions.find(REALM, session.tokenDigest))?.position === undefined) misses += 1;
        await front.sessions.put({ session, position: 4, mark: 0 });
      }
    };
    const move = async () => {
      try {
        await redis.moveSlot(slot, to, async () => {
          await from.cli('MIGRATE', '127.0.0.1', String(to.port), key, '0', '2000');
          const before = calls;
          await eventually('asked', () => calls > before + 3);
          expect((await front.sessions.find(REALM, session.tokenDigest))?.position).toBe(4);
        });
        const before = calls;
        await eventually('moved', () => calls > before + 3);
      } finally {
        going = false;
      }
    };
    await Promise.all([move(), traffic()]);
    expect(misses).toBe(0);
    expect(await redis.ownerOf(slot)).toBe(to);
    expect(front.connection.state.up).toBe(true);
    expect(front.log.lines).toEqual([]);
  }, 40_000);

  it('keeps the list of pending ends whole while its slot moves', async () => {
    const slot = await redis.slotOf(front.keys.pendingEnds());
    const to = another(await redis.ownerOf(slot));
    const ends = Array.from({ length: 30 }, (_, i) => ({ ...endOf(id('session')), at: T0 + i }));
    const add = async (end: (typeof ends)[number]) => {
      // Between the keys of one script lies a moment in which neither node has both: then it is refused, and repeated.
      await eventually('added', () =>
        front.ends.add(end).then(
          () => true,
          () => false,
        ),
      );
    };
    for (const end of ends.slice(0, 10)) await add(end);
    const during = async () => {
      for (const end of ends.slice(10)) await add(end);
    };
    await Promise.all([during(), redis.moveSlot(slot, to)]);
    expect((await front.ends.list(100)).map((end) => end.id)).toEqual(ends.map((end) => end.id));
    for (const end of ends) await front.ends.remove(end);
  }, 40_000);

  it('tells news whichever node each sidecar listens to', async () => {
    const fronts = await Promise.all(Array.from({ length: 6 }, start));
    await eventually('connected', () => fronts.every(({ news }) => news.connected));
    const challenge = challengeOf();
    let told = 0;
    for (const { news } of fronts)
      await news.followChallenge(challenge.id, () => {
        told += 1;
      });
    await front.news.challengeChanged(challenge);
    await eventually('told', () => told === fronts.length);
    for (const one of fronts) one[Symbol.dispose]();
  });

  it('is away while a node is frozen, never waited for longer than the time-out, and back when it thaws', async () => {
    const [, , node] = redis.nodes;
    const other = await start(TIMEOUT_MS);
    await node?.freeze();
    let longest = 0;
    await eventually('away', async () => {
      longest = Math.max(longest, (await took(() => serves(other))).ms);
      return !other.connection.state.up;
    });
    expect(longest).toBeLessThan(TIMEOUT_MS + MARGIN_MS);
    const { ms } = await took(async () => expect(await serves(other)).toBe(false));
    expect(ms).toBeLessThan(AT_ONCE_MS);
    await node?.thaw();
    await eventually('back', () => serves(other), 15_000);
    await eventually('news', () => other.news.connected, 10_000);
    other[Symbol.dispose]();
  }, 60_000);

  it('is away when all nodes are killed, and back after they were started again', async () => {
    const other = await start(TIMEOUT_MS);
    for (const node of redis.nodes) await node.kill();
    await eventually('away', () => !other.connection.state.up && !other.news.connected);
    expect(await serves(other)).toBe(false);
    for (const node of redis.nodes) await node.restart();
    await eventually('back', () => serves(other), 20_000);
    await eventually('news', () => other.news.connected, 10_000);
    other[Symbol.dispose]();
  }, 60_000);
});
