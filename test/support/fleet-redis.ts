import { type RedisServer, startRedis } from '../../scripts/servers/redis.ts';
import { type RedisCluster, startRedisCluster } from '../../scripts/servers/redis-cluster.ts';
import { MASTER_NAME, type RedisSentinel, startSentinel } from '../../scripts/servers/redis-sentinel.ts';

export type RedisKind = 'single' | 'sentinel' | 'cluster';

/** The Redis of a fleet. Faults go to all servers that hold data; `servers` has each by itself. */
export interface FleetRedis extends AsyncDisposable {
  readonly kind: RedisKind;
  /** Those that hold data: not the Sentinels. */
  readonly servers: readonly RedisServer[];
  readonly sentinel: RedisSentinel | undefined;
  readonly cluster: RedisCluster | undefined;
  /** How a sidecar finds it. */
  readonly settings: Readonly<Record<string, string>>;
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  kill(): Promise<void>;
  /** All of them again, empty. */
  restart(): Promise<void>;
  /** Forgets all data at once (FLUSHALL). */
  flush(): Promise<void>;
}

/** @param settings More lines for redis.conf of each server that holds data. */
export async function startFleetRedis(
  kind: RedisKind,
  settings: Readonly<Record<string, string>> = {},
): Promise<FleetRedis> {
  switch (kind) {
    case 'single': {
      const server = await startRedis({ settings });
      return fleetRedis(kind, server, [server], [server.address], {});
    }
    case 'sentinel': {
      const sentinel = await startSentinel({ redis: { settings } });
      return fleetRedis(kind, sentinel, sentinel.nodes, sentinel.addresses, { sentinel });
    }
    case 'cluster': {
      const cluster = await startRedisCluster({ settings });
      return fleetRedis(kind, cluster, cluster.nodes, cluster.addresses, { cluster });
    }
  }
}

function fleetRedis(
  kind: RedisKind,
  owner: AsyncDisposable,
  servers: readonly RedisServer[],
  addresses: readonly string[],
  { sentinel, cluster }: { readonly sentinel?: RedisSentinel; readonly cluster?: RedisCluster },
): FleetRedis {
  const each = async (act: (server: RedisServer) => Promise<unknown>) => {
    await Promise.all(servers.map(act));
  };
  return {
    kind,
    servers,
    sentinel,
    cluster,
    settings: {
      SALLYPORT_REDIS_MODE: kind,
      SALLYPORT_REDIS_ADDRESSES: JSON.stringify(addresses),
      SALLYPORT_REDIS_MASTER_NAME: MASTER_NAME,
    },
    freeze: () => each((server) => server.freeze()),
    thaw: () => each((server) => server.thaw()),
    kill: () => each((server) => server.kill()),
    restart: () => each((server) => server.restart()),
    // A replica refuses, and is told by its master.
    flush: () =>
      each(async (server) => {
        if ((await server.cli('ROLE')).startsWith('master')) await server.cli('FLUSHALL');
      }),
    [Symbol.asyncDispose]: () => owner[Symbol.asyncDispose](),
  };
}
