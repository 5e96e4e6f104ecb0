import type { EventCommit } from '../src/adapters/audit/contract.ts';
import { connectionSettings } from '../src/adapters/postgres/connection-settings.ts';
import { PostgresExecutor } from '../src/adapters/postgres/postgres-executor.ts';
import { PostgresPool } from '../src/adapters/postgres/postgres-pool.ts';
import { systemClock, systemRandom } from '../src/adapters/system.ts';
import type { Log } from '../src/ports/telemetry.ts';

/** Says on stderr what goes wrong. */
export const LOG: Log = { debug() {}, info() {}, warn: console.error, error: console.error };

/** The product's own connections to a database, without a sidecar around them. */
export function openPool(url: string, connections: number): PostgresPool {
  return new PostgresPool({
    client: connectionSettings({ url, tls: 'off', caFile: '', connectTimeoutMs: 5_000 }).client,
    connections,
    maxWaiting: 10_000,
    connectTimeoutMs: 5_000,
    failures: 1_000,
    probeMs: 1_000,
    clock: systemClock,
    random: systemRandom,
    log: LOG,
  });
}

/** The product's own units of work over it, with time enough to wait for one another. */
export function openExecutor(pool: PostgresPool, events: EventCommit): PostgresExecutor {
  return new PostgresExecutor({
    pool,
    events,
    timeoutMs: 30_000,
    readTimeoutMs: 10_000,
    clock: systemClock,
    random: systemRandom,
    log: LOG,
  });
}
