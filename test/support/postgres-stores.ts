import { connectionSettings } from '#src/adapters/postgres/connection-settings.ts';
import { migrateDatabase } from '#src/adapters/postgres/migrate-runner.ts';
import { PostgresExecutor } from '#src/adapters/postgres/postgres-executor.ts';
import { PostgresPool, type PostgresPoolOptions } from '#src/adapters/postgres/postgres-pool.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { SqlChallengeStore } from '#src/adapters/sql/challenge-store.ts';
import type { SqlExecutor } from '#src/adapters/sql/executor.ts';
import { NoticingExecutor } from '#src/adapters/sql/noticing-executor.ts';
import { SqlSessionStore } from '#src/adapters/sql/session-store.ts';
import { plainStores } from '#src/adapters/sql/stores.ts';
import { systemClock, systemRandom } from '#src/adapters/system.ts';
import { postgresMigrations } from '#src/gen/sql/migrations.js';
import type { PostgresServer } from '../../scripts/servers/postgres.ts';
import { SILENT, TEST_RING } from './local-stores.ts';
import { MemoryTrail } from './memory-trail.ts';
import type { MakeStores, StoreFixture } from './store-fixture.ts';

export type Stores = Omit<StoreFixture, 'audit' | 'restart' | 'close'>;

let databases = 0;

/** A new database with the newest schema. */
export async function newDatabase(server: PostgresServer): Promise<{ readonly name: string; readonly url: string }> {
  databases += 1;
  const name = `test_${process.pid}_${databases}`;
  const url = await server.createDatabase(name);
  await migrateTest(url);
  return { name, url };
}

async function migrateTest(url: string): Promise<void> {
  const settings = connectionSettings({ url, tls: 'off', caFile: '', connectTimeoutMs: 5_000 });
  await migrateDatabase({ settings, migrations: postgresMigrations, clock: systemClock, lockWaitMs: 10_000 });
}

export interface SidecarOptions extends Partial<PostgresPoolOptions> {
  readonly url: string;
  readonly trail: MemoryTrail;
  readonly timeoutMs?: number;
  readonly readTimeoutMs?: number;
  /** The product's if left out. */
  readonly lockWaitMs?: number;
}

/** What one sidecar has of PostgreSQL: a pool and an executor. Closed with `await using`. */
export function openExecutor(sidecar: SidecarOptions) {
  const { url, trail, timeoutMs = 20_000, readTimeoutMs = 20_000, lockWaitMs, ...options } = sidecar;
  const settings = connectionSettings({ url, tls: 'off', caFile: '', connectTimeoutMs: 5_000 });
  const pool = new PostgresPool({
    client: settings.client,
    connections: 2,
    maxWaiting: 1_000,
    connectTimeoutMs: 5_000,
    failures: 3,
    probeMs: 100,
    clock: systemClock,
    random: systemRandom,
    log: SILENT,
    ...options,
  });
  const executor = new PostgresExecutor({
    pool,
    events: trail,
    timeoutMs,
    readTimeoutMs,
    ...(lockWaitMs === undefined ? {} : { lockWaitMs }),
    clock: systemClock,
    random: systemRandom,
    log: SILENT,
  });
  const close = async () => {
    await pool.close();
    await executor.close();
  };
  return { pool, executor, close, [Symbol.asyncDispose]: close };
}

/** With notices, as where people are told of changes. The trail is in memory, so that nothing makes keys of persons. */
export function storesOver(executor: SqlExecutor): Stores {
  const sql = new NoticingExecutor(executor);
  return {
    ...plainStores(sql, { table: 'subject_keys' }),
    challenges: new SqlChallengeStore(sql),
    sessions: new SqlSessionStore(sql, new AesGcmSecretBox({ ring: TEST_RING, random: systemRandom })),
  };
}

/**
 * All stores over two sidecars that take turns call by call, so that calls that are made at once race across processes'
 * borders: two pools, two executors, one database.
 */
export function twoSidecars(
  server: PostgresServer,
  options: { readonly wrap?: (sql: SqlExecutor) => SqlExecutor; readonly urlOf?: (name: string) => string } = {},
): MakeStores {
  return async () => {
    const { name, url } = await newDatabase(server);
    const trail = new MemoryTrail();
    const open = (): StoreFixture => {
      const sidecars = [0, 1].map(() => openExecutor({ url: options.urlOf?.(name) ?? url, trail }));
      const stores = sidecars.map(({ executor }) => storesOver(options.wrap?.(executor) ?? executor));
      const close = async () => {
        await Promise.all(sidecars.map((sidecar) => sidecar.close()));
      };
      return {
        ...takingTurns(stores),
        audit: trail,
        restart: async () => {
          await close();
          return open();
        },
        close,
      };
    };
    return open();
  };
}

/** Each call goes to the next sidecar. */
export function takingTurns(sidecars: readonly Stores[]): Stores {
  let turn = 0;
  const next = () => {
    const sidecar = sidecars[turn % sidecars.length];
    turn += 1;
    if (!sidecar) throw new Error('there is no sidecar');
    return sidecar;
  };
  const port = <K extends keyof Stores>(key: K): Stores[K] =>
    new Proxy({} as Stores[K], {
      get: (_target, method) => {
        const store = next()[key];
        const value: unknown = Reflect.get(store, method, store);
        return typeof value === 'function' ? value.bind(store) : value;
      },
    });
  const [first] = sidecars;
  const keys = Object.keys(first ?? {}) as (keyof Stores)[];
  return Object.fromEntries(keys.map((key) => [key, port(key)])) as unknown as Stores;
}
