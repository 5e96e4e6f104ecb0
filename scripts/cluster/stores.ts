import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { type PostgresServer, startPostgres } from '../servers/postgres.ts';
import { type RedisServer, startRedis } from '../servers/redis.ts';
import { startRedisCluster } from '../servers/redis-cluster.ts';
import { startSentinel } from '../servers/redis-sentinel.ts';
import type { Plan } from './plan.ts';
import { ClusterProblem, shown } from './problem.ts';
import type { RedisAccess } from './settings.ts';

/** PostgreSQL with the data of earlier runs, on any free port. */
export async function openPostgres({ directory }: Plan): Promise<PostgresServer> {
  const home = join(directory, 'postgres');
  try {
    return await startPostgres({ directory: home });
  } catch (error) {
    const said = String(error);
    if (said.includes('lock file "postmaster.pid" already exists'))
      throw new ClusterProblem(
        `another cluster runs on ${shown(directory)}. Stop it, or give this one its own: npm run cluster -- --dir other-cluster --port-offset 1000`,
      );
    if (said.includes('database files are incompatible with server'))
      throw new ClusterProblem(
        `the data in ${shown(home)} is of another release of PostgreSQL. Start without it: npm run cluster -- --fresh`,
      );
    throw error;
  }
}

/** Redis as the plan has it. It holds copies only, so it keeps nothing from run to run. */
export interface OpenRedis extends AsyncDisposable {
  readonly access: RedisAccess;
  /** Those that hold data. */
  readonly servers: readonly RedisServer[];
}

export async function openRedis({ redis }: Plan): Promise<OpenRedis | undefined> {
  const password = randomBytes(18).toString('hex');
  switch (redis) {
    case 'off':
      return undefined;
    case 'single': {
      const server = await startRedis({ password });
      return opened(server, [server.address], [server], password);
    }
    case 'sentinel': {
      const sentinel = await startSentinel({ redis: { password } });
      return opened(sentinel, sentinel.addresses, sentinel.nodes, password);
    }
    case 'cluster': {
      const cluster = await startRedisCluster({ password });
      return opened(cluster, cluster.addresses, cluster.nodes, password);
    }
  }
}

function opened(
  owner: AsyncDisposable,
  addresses: readonly string[],
  servers: readonly RedisServer[],
  password: string,
): OpenRedis {
  return { access: { addresses, password }, servers, [Symbol.asyncDispose]: () => owner[Symbol.asyncDispose]() };
}
