import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { startRedis } from '../../scripts/servers/redis.ts';
import { startRedisCluster } from '../../scripts/servers/redis-cluster.ts';
import { MASTER_NAME, startSentinel } from '../../scripts/servers/redis-sentinel.ts';
import { until } from '../../scripts/servers/server-process.ts';

function connect(options: RedisOptions): Redis & Disposable {
  const client = new Redis({
    maxRetriesPerRequest: 0,
    commandTimeout: 20_000,
    retryStrategy: () => null,
    enableReadyCheck: false,
    ...options,
    replyMapping: 'legacy',
  });
  client.on('error', () => {});
  return Object.assign(client, { [Symbol.dispose]: () => client.disconnect() });
}

const nodeOf = (address: string) => ({ host: '127.0.0.1', port: Number(address.split(':')[1]) });

describe('a Redis server', () => {
  it('freezes, is killed, and comes back empty or with an old dump', async () => {
    await using redis = await startRedis();
    await redis.cli('SET', 'a', 'old');
    const dump = await redis.snapshot();
    await redis.cli('SET', 'a', 'new');
    using client = connect({ port: redis.port });
    expect(await client.get('a')).toBe('new');
    using hasty = connect({ port: redis.port, commandTimeout: 300 });
    await once(hasty, 'ready');
    await redis.freeze();
    await expect(hasty.get('a')).rejects.toThrow('timed out');
    await redis.thaw();
    expect(await redis.cli('GET', 'a')).toBe('new');
    await redis.kill();
    await expect(redis.cli('PING')).rejects.toThrow('refused');
    await redis.restart();
    expect(await redis.cli('GET', 'a')).toBe('');
    await redis.restart(dump);
    expect(await redis.cli('GET', 'a')).toBe('old');
  });

  it('takes users and settings, and throws what the server refuses', async () => {
    await using redis = await startRedis({
      acl: [{ username: 'app', password: 'secret', rules: '~app:* +get' }],
      settings: { maxmemory: '3mb', 'maxmemory-policy': 'noeviction' },
    });
    using stranger = connect({ port: redis.port });
    await expect(stranger.get('app:a')).rejects.toThrow('NOAUTH');
    using app = connect({ port: redis.port, username: 'app', password: 'secret' });
    expect(await app.get('app:a')).toBeNull();
    await expect(app.get('other:a')).rejects.toThrow('NOPERM');
    await redis.cli('SETRANGE', 'app:a', '4000000', 'x');
    await expect(redis.cli('SET', 'app:b', 'x')).rejects.toThrow('OOM');
  });

  it('speaks only TLS when it has certificates, under the right name or the wrong, and may ask for one', async () => {
    await using redis = await startRedis({ tls: { askClient: true } });
    const { caFile = '', client } = redis.certificates ?? {};
    const ca = readFileSync(caFile, 'utf8');
    const own = {
      cert: readFileSync(client?.certFile ?? '', 'utf8'),
      key: readFileSync(client?.keyFile ?? '', 'utf8'),
    };
    using right = connect({ port: redis.port, tls: { ca, ...own } });
    expect(await right.ping()).toBe('PONG');
    using anonymous = connect({ port: redis.port, tls: { ca } });
    await expect(anonymous.ping()).rejects.toThrow();
    await using other = await startRedis({ tls: { certificate: 'wrongName' } });
    const authority = readFileSync(other.certificates?.caFile ?? '', 'utf8');
    const refused = new Promise<Error>((resolve) => {
      const client = new Redis({ port: other.port, tls: { ca: authority }, retryStrategy: () => null });
      client.once('error', resolve);
    });
    expect(String(await refused)).toContain('altnames');
  });
});

describe('Redis with Sentinels', () => {
  it('fails over when the master is killed, and the old master comes back as a replica', async () => {
    await using redis = await startSentinel({ downAfterMs: 2_000, redis: { password: 'secret' } });
    const old = await redis.master();
    await old.cli('SET', 'a', '1');
    const replica = await redis.replica();
    await until('the value at the replica', async () => ((await replica.cli('GET', 'a')) === '1' ? true : undefined));
    await old.kill();
    const master = await redis.failedOverFrom(old);
    expect(master).not.toBe(old);
    // A Sentinel cuts a server's clients once more when it has told it that it is master.
    const read = async () => {
      using client = connect({
        sentinels: redis.addresses.map(nodeOf),
        name: MASTER_NAME,
        password: 'secret',
        sentinelPassword: 'secret',
        commandTimeout: 1_000,
      });
      return (await client.get('a')) ?? undefined;
    };
    expect(await until('the value', read, { limitMs: 20_000, stepMs: 50 })).toBe('1');
    await old.restart();
    const joined = () => old.cli('ROLE').then((role) => (role.startsWith('slave') ? role : undefined));
    expect(await until('the old master as a replica', joined, { limitMs: 40_000, stepMs: 50 })).toContain(
      String(master.port),
    );
  });
});

describe('a Redis Cluster', () => {
  it('shares the slots and moves one with its keys while clients go on', async () => {
    await using redis = await startRedisCluster({ password: 'secret', nodeTimeoutMs: 5_000 });
    const client = new Cluster(redis.addresses.map(nodeOf), { redisOptions: { password: 'secret' } });
    try {
      await client.set('{a}x', '1');
      const slot = await redis.slotOf('{a}x');
      const from = await redis.ownerOf(slot);
      const to = redis.nodes.find((node) => node !== from) ?? from;
      await redis.moveSlot(slot, to, async () => {
        await expect(from.cli('GET', '{a}y')).rejects.toThrow('ASK');
        expect(await client.get('{a}x')).toBe('1');
        await client.set('{a}y', '2');
      });
      expect(await redis.ownerOf(slot)).toBe(to);
      await expect(from.cli('GET', '{a}x')).rejects.toThrow('MOVED');
      expect([await client.get('{a}x'), await client.get('{a}y')]).toEqual(['1', '2']);
    } finally {
      client.disconnect();
    }
  });
});
