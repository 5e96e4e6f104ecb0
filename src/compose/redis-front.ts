import { readFile } from 'node:fs/promises';
import { RedisChallengeCopies } from '#src/adapters/redis/challenge-copies.ts';
import type { RedisTarget, RedisTls } from '#src/adapters/redis/client-options.ts';
import { RedisConnection } from '#src/adapters/redis/connection.ts';
import { RedisKeys } from '#src/adapters/redis/keys.ts';
import { RedisNews } from '#src/adapters/redis/news.ts';
import { RedisPendingEnds } from '#src/adapters/redis/pending-ends.ts';
import { RedisSessionCopies } from '#src/adapters/redis/session-copies.ts';
import type { SharedFront } from '#src/adapters/shared/shared-room.ts';
import type { Config } from '#src/config/schema.ts';
import { Fault } from '#src/domain/faults.ts';
import type { StorageDependencies } from './storage.ts';

export interface RedisFront extends AsyncDisposable {
  readonly connection: RedisConnection;
  readonly front: SharedFront;
}

/** Copies and news in Redis. A Redis that is away at the start is joined when it is there. */
export async function openRedisFront(deps: StorageDependencies): Promise<RedisFront> {
  const { config, box, digest, clock, random, log } = deps;
  const keys = new RedisKeys({ prefix: config.redis.prefix, digest });
  const connection = new RedisConnection({
    target: await targetOf(config.redis),
    keys,
    failures: config.outage.failures,
    probeMs: config.outage.probe,
    clock,
    random,
    log,
  });
  const shared = { connection, keys, box, clock, random, log };
  const onMalformed = () => log.warn('a message in Redis could not be read: another key ring, or not from a sidecar');
  const news = new RedisNews({ ...shared, realms: config.realms, onMalformed });
  await connection.start();
  await news.start();
  return {
    connection,
    front: {
      sessions: new RedisSessionCopies(shared),
      challenges: new RedisChallengeCopies(shared),
      pendingEnds: new RedisPendingEnds(shared),
      news,
    },
    async [Symbol.asyncDispose]() {
      news.close();
      connection.close();
    },
  };
}

async function targetOf(redis: Config['redis']): Promise<RedisTarget> {
  return {
    mode: redis.mode === 'off' ? 'single' : redis.mode,
    addresses: redis.addresses.map(addressOf),
    masterName: redis.master_name,
    database: redis.database,
    username: redis.username,
    password: redis.password?.reveal() ?? '',
    sentinelPassword: redis.sentinel_password?.reveal() ?? '',
    ...(redis.tls.enabled ? { tls: await tlsOf(redis.tls) } : {}),
    timeoutMs: redis.timeout,
  };
}

function addressOf(written: string): { readonly host: string; readonly port: number } {
  const colon = written.lastIndexOf(':');
  return { host: written.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(written.slice(colon + 1)) };
}

async function tlsOf(tls: Config['redis']['tls']): Promise<RedisTls> {
  const [ca, cert, key] = await Promise.all([tls.ca_file, tls.cert_file, tls.key_file].map(pem));
  const serverName = tls.server_name === '' ? undefined : tls.server_name;
  return Object.fromEntries(Object.entries({ ca, cert, key, serverName }).filter(([, value]) => value !== undefined));
}

async function pem(path: string): Promise<string | undefined> {
  if (path === '') return undefined;
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new Fault('precondition', 'STORE_UNAVAILABLE', `redis.tls: ${path} cannot be read: ${String(error)}`);
  }
}
