import { expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../../../scripts/servers/redis.ts';
import { PATIENT_MS, RedisFront, targetOf } from '../../support/redis-front.ts';
import { digest, REALM } from '../../support/store-samples.ts';

const AT_ONCE = 200;

/** How often the server has read from its connections. */
async function readsOf(redis: RedisServer): Promise<number> {
  const said = /total_reads_processed:(\d+)/.exec(await redis.cli('INFO', 'stats'))?.[1];
  return Number(said);
}

it('what is sent within one turn of the event loop reaches the server in a few writes', async () => {
  await using redis = await startRedis();
  using front = await RedisFront.start(targetOf({ at: [redis.address], timeoutMs: PATIENT_MS }));
  const before = await readsOf(redis);
  const found = await Promise.all(Array.from({ length: AT_ONCE }, () => front.sessions.find(REALM, digest())));
  expect(found).toHaveLength(AT_ONCE);
  // The question itself, and pings of the subscription, are among them.
  expect((await readsOf(redis)) - before).toBeLessThan(AT_ONCE / 10);
});
