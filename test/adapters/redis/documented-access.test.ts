import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { RedisTarget } from '#src/adapters/redis/client-options.ts';
import { type RedisServer, startRedis } from '../../../scripts/servers/redis.ts';
import { startRedisCluster } from '../../../scripts/servers/redis-cluster.ts';
import { startSentinel } from '../../../scripts/servers/redis-sentinel.ts';
import { eventually } from '../../support/eventually.ts';
import { PATIENT_MS, RedisFront, targetOf } from '../../support/redis-front.ts';
import { challengeOf, eventOf, id, person, REALM, sessionOf, T0 } from '../../support/store-samples.ts';

const page = readFileSync(new URL('../../../docs/shared-state.md', import.meta.url), 'utf8');
const found = (pattern: RegExp) => pattern.exec(page)?.[1]?.split(' ') ?? [];
const LEAST = found(/^user sidecar on >PASSWORD (.*)$/m);
const SENTINEL = found(/under Sentinel also `([^`]+)`/);
const CLUSTER = found(/in a Cluster also `([^`]+)`/);
const LOGIN = { username: 'sidecar', password: 'correct-horse-battery' };

async function admit(servers: readonly RedisServer[], rules: readonly string[]): Promise<void> {
  for (const server of servers)
    await server.cli('ACL', 'SETUSER', LOGIN.username, 'on', `>${LOGIN.password}`, ...rules);
}

/** Nothing here is about time. */
const start = (target: Partial<RedisTarget> & { readonly at: readonly string[] }) =>
  RedisFront.start(targetOf({ timeoutMs: PATIENT_MS, ...LOGIN, ...target }), { keepaliveMs: PATIENT_MS });

/** What a sidecar does all day, and that no server has refused any of it. */
async function expectEnough(servers: readonly RedisServer[], target: Parameters<typeof start>[0]) {
  await using front = await start(target);
  await eventually('connected', () => front.news.connected);
  for (let nth = 0; nth < 10; nth += 1) {
    const session = sessionOf();
    await front.sessions.put({ session, position: 1, mark: 1 });
    expect((await front.sessions.find(REALM, session.tokenDigest))?.session).toEqual(session);
    await front.sessions.drop(REALM, [session.tokenDigest]);
    const ends = { realm: REALM, reason: 'REVOKED' as const, at: T0, event: eventOf('session.ended') };
    await front.ends.add({ ...ends, id: id('event'), target: { kind: 'ids', sessionIds: [session.id] } });
    await front.ends.add({
      ...{ ...ends, id: id('event') },
      target: { kind: 'subject', subject: person(), exceptSessionId: session.id },
    });
    expect(await front.ends.isEnded(session)).toBe(true);
    await front.challenges.put(challengeOf());
    (await front.news.followChallenge(id('challenge'), () => {}))();
    await front.news.sessionsChanged(REALM, [session.id], T0);
  }
  for (const end of await front.ends.list(100)) await front.ends.remove(end);
  expect(front.log.lines).toEqual([]);
  for (const server of servers) expect(await server.cli('ACL', 'LOG')).toBe('');
}

describe('the rights that the guide gives to the user of the sidecars are enough', () => {
  it('on a single Redis', async () => {
    await using redis = await startRedis();
    await admit([redis], LEAST);
    await expectEnough([redis], { at: [redis.address] });
  });

  it('under Sentinels', async () => {
    await using redis = await startSentinel();
    await admit(redis.nodes, [...LEAST, ...SENTINEL]);
    await expectEnough(redis.nodes, { mode: 'sentinel', at: redis.addresses });
  });

  it('in a Cluster, also while a slot with copies moves', async () => {
    await using redis = await startRedisCluster({ nodeTimeoutMs: 5_000 });
    await admit(redis.nodes, [...LEAST, ...CLUSTER]);
    const target = { mode: 'cluster' as const, at: redis.addresses };
    await expectEnough(redis.nodes, target);
    await using front = await start(target);
    const session = sessionOf();
    await front.sessions.put({ session, position: 1, mark: 1 });
    const slot = await redis.slotOf(front.keys.session(REALM, session.tokenDigest));
    const owner = await redis.ownerOf(slot);
    const other = redis.nodes.find((node) => node !== owner);
    if (!other) throw new Error('there is one node only');
    const look = async () => expect((await front.sessions.find(REALM, session.tokenDigest))?.session).toEqual(session);
    await redis.moveSlot(slot, other, async () => {
      await look();
      // Not there any more at the owner: it asks to go on.
      const absent = await front.sessions.find(REALM, sessionOf().tokenDigest);
      expect(absent).toBeUndefined();
    });
    await look();
    for (const node of redis.nodes) expect(await node.cli('ACL', 'LOG')).toBe('');
  });
});
