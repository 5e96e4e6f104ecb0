import { setTimeout as pause } from 'node:timers/promises';
import type { CentralSubjectKeys } from '#src/adapters/audit/contract.ts';
import { CentralAuditLog } from '#src/adapters/central/audit-log.ts';
import { TrailDatabase } from '#src/adapters/central/database.ts';
import { ErasureFollower } from '#src/adapters/central/erasure-follower.ts';
import { PostgresFlushTarget } from '#src/adapters/central/flush-target.ts';
import { Flusher } from '#src/adapters/central/flusher.ts';
import { PostgresSubjectKeys } from '#src/adapters/central/subject-keys.ts';
import { type LocalTrail, openLocalTrail } from '#src/adapters/local/trail-client.ts';
import { ClockWatch } from '#src/adapters/postgres/clock-skew.ts';
import { type ConnectionSettings, connectionSettings } from '#src/adapters/postgres/connection-settings.ts';
import { PostgresExecutor } from '#src/adapters/postgres/postgres-executor.ts';
import { PostgresPool } from '#src/adapters/postgres/postgres-pool.ts';
import { QuickReads } from '#src/adapters/postgres/quick-reads.ts';
import { requireRights, requireSchema } from '#src/adapters/postgres/require-schema.ts';
import { keyRingFingerprint } from '#src/adapters/secrets/key-ring.ts';
import { makeSharedRoom } from '#src/adapters/shared/shared-room.ts';
import { StoreDependencies } from '#src/adapters/shared/store-dependencies.ts';
import { SqlChallengeStore } from '#src/adapters/sql/challenge-store.ts';
import type { SqlExecutor } from '#src/adapters/sql/executor.ts';
import { appendNoting } from '#src/adapters/sql/noted-events.ts';
import { NoticingExecutor } from '#src/adapters/sql/noticing-executor.ts';
import { SqlSessionStore } from '#src/adapters/sql/session-store.ts';
import { plainStores } from '#src/adapters/sql/stores.ts';
import type { PersonKeys } from '#src/adapters/sql/subject-store.ts';
import type { Config } from '#src/config/schema.ts';
import { Fault } from '#src/domain/faults.ts';
import { longestWithoutPostgres } from '#src/domain/outage.ts';
import { MINUTE, SECOND } from '#src/domain/time.ts';
import { postgresMigrations } from '#src/gen/sql/migrations.js';
import type { RedisFront } from './redis-front.ts';
import type { Storage, StorageDependencies } from './storage.ts';

/** How long a start waits for a PostgreSQL that is away before it gives up, so that whoever started it hears of it. */
const START_PATIENCE = MINUTE;
const START_RETRY = SECOND;
/** Thousands of sidecars share one database. */
const MAX_CONNECTIONS = 2;
/** Where reads and units share one connection, a unit that waits for somebody else soon lets the reads go first. */
const LOCK_WAIT_ON_ONE = 25;
const MAX_WAITING = 2_048;
const MAX_CACHED_KEYS = 8_192;
const KEY_LIFE = MINUTE;
const FLUSH_TIMEOUT = 2 * SECOND;

/** State in PostgreSQL, copies and news in Redis, the trail on the own disk first. Loaded only where settings ask for it. */
export async function openSharedStorage(deps: StorageDependencies): Promise<Storage> {
  await using stack = new AsyncDisposableStack();
  const { config, box, clock, random, log } = deps;
  const { postgres, audit } = config;
  const state = addressOf(config, postgres.url?.reveal() ?? '');
  const flushAt = postgres.audit_url ? addressOf(config, postgres.audit_url.reveal()) : undefined;
  const pool = stack.adopt(newPool(deps, state, flushAt ? 1 : MAX_CONNECTIONS), (made) => made.close());
  const flushPool = flushAt ? stack.adopt(newPool(deps, flushAt, 1), (made) => made.close()) : pool;
  // A unit that waits for the trail keeps its connection, so what it waits for takes another one.
  const flushTrail = new TrailDatabase({ pool: flushPool, lane: audit.mode === 'strict' ? 'read' : 'unit' });
  const stateTrail = new TrailDatabase({ pool });
  const keysOver = (database: TrailDatabase) =>
    new PostgresSubjectKeys({
      database,
      secrets: box,
      random,
      clock,
      timeoutMs: postgres.read_timeout,
      maxCached: MAX_CACHED_KEYS,
      maxAgeMs: KEY_LIFE,
    });
  const [makingKeys, findingKeys] = [keysOver(flushTrail), keysOver(stateTrail)];
  const subjectKeys: CentralSubjectKeys = {
    of: (realm, subject) => makingKeys.of(realm, subject),
    // The role that only adds may not look for them.
    findByRefs: (refs) => findingKeys.findByRefs(refs),
    refsOf: (realm, subject) => findingKeys.refsOf(realm, subject),
    destroy: (refs) => findingKeys.destroy(refs),
  };
  let lookForErased = () => Promise.resolve();
  const trail = stack.use(
    await openLocalTrail({
      directory: config.data_dir,
      keyRing: deps.ring,
      maxAuditBytes: audit.max_bytes,
      checkpointMs: audit.checkpoint_interval,
      maxAgeMs: audit.max_age,
      mode: audit.mode,
      subjectKeys,
      flushTimeoutMs: FLUSH_TIMEOUT,
      keyTimeoutMs: postgres.read_timeout,
      // Set below, before the first flush.
      beforeKeysLeave: () => lookForErased(),
      log,
      onFatal: deps.onFatal,
    }),
  );
  const executorOf = (of: PostgresPool) =>
    new PostgresExecutor({
      pool: of,
      events: trail.commit,
      timeoutMs: postgres.timeout,
      ...(flushAt && { lockWaitMs: LOCK_WAIT_ON_ONE }),
      readTimeoutMs: postgres.timeout,
      clock,
      random,
      log,
    });
  const sql = stack.adopt(executorOf(pool), (made) => made.close());
  const skewMs = await whenThere(deps, state, async () => {
    const facts = await requireSchema({
      sql,
      at: state,
      migrations: postgresMigrations,
      access: flushAt ? ['state'] : ['state', 'audit'],
      keyRingFingerprint: keyRingFingerprint(deps.ring),
      clock,
      log,
    });
    if (flushAt) await requireRights(executorOf(flushPool), ['audit'], log, flushAt);
    return facts.skewMs;
  });
  const clocks = stack.adopt(new ClockWatch({ sql, clock, log, skewMs }), (made) => made.stop());

  const notices = config.notices.channel !== 'off';
  const noticing = (executor: SqlExecutor) => (notices ? new NoticingExecutor(executor) : executor);
  const storeSql = noticing(sql);
  const redis = config.redis.mode === 'off' ? undefined : stack.use(await openFront(deps));
  const dependencies = new StoreDependencies(redis ? [redis.connection, pool.breaker] : [pool.breaker]);
  const room = makeSharedRoom({
    sessions: new SqlSessionStore(noticing(new QuickReads(sql, postgres.read_timeout)), box),
    challenges: new SqlChallengeStore(storeSql),
    front: redis?.front,
    dependencies,
    realms: config.realms,
    longestOutageMs: longestWithoutPostgres(config.outage),
    lookTimeoutMs: postgres.read_timeout * 2,
    retryAfterMs: Math.max(config.outage.probe, SECOND),
    clock,
    random,
    log,
    metrics: { sessionEnded: (reason) => deps.metrics()?.sessionEnded(reason) },
  });
  stack.defer(() => room.stop());
  await room.start();

  const plain = plainStores(
    storeSql,
    personKeys([makingKeys, findingKeys], () => void erasures.look().catch(() => {})),
  );
  const erasures = new ErasureFollower({
    subjects: plain.subjects,
    begin: () => trail.erasedThrough(),
    async forget(erased) {
      deps.erased(new Set(erased));
      for (const keys of [makingKeys, findingKeys]) keys.forgetRefs(new Set(erased));
      await findingKeys.destroy(await trail.forget(erased));
    },
    done: (through) => trail.forgotThrough(through),
    clock,
    log,
  });
  stack.defer(() => erasures.stop());
  await erasures.start();
  lookForErased = () => erasures.look();

  const flusher = newFlusher(
    deps,
    trail,
    new PostgresFlushTarget({ database: flushTrail, timeoutMs: FLUSH_TIMEOUT }),
    pool,
  );
  flusher.start();
  stack.defer(() => flusher.close());
  const forget = flushPool.breaker.onChange(({ up }) => up && flusher.recovered());
  stack.defer(forget);
  const central = new CentralAuditLog({ database: stateTrail, keys: subjectKeys, local: trail.audit, clock });
  const append = notices ? appendNoting(trail.audit.append, sql, log) : trail.audit.append;
  const opened = stack.move();
  return {
    stores: {
      ...plain,
      sessions: room.sessions,
      challenges: room.challenges,
    },
    audit: {
      append,
      query: (filter, limit, before) => central.query(filter, limit, before),
      after: (filter, position, limit) => central.after(filter, position, limit),
      head: () => central.head(),
      onAppend: (listener) => central.onAppend(listener),
      verify: (chainId) => central.verify(chainId),
      exportPage: (range, cursor) => central.exportPage(range, cursor),
      status: () => trail.audit.status(),
    },
    onDurable: trail.audit.onAppend,
    signals: room.signals,
    dependencies,
    gauges: [clocks.gauge],
    async [Symbol.asyncDispose]() {
      // What is durable here should be there too before this sidecar is gone.
      const { left } = await flusher.drain(FLUSH_TIMEOUT);
      if (left > 0) log.warn('events stay in the local buffer; the next start on this volume flushes them', { left });
      await opened.disposeAsync();
    },
  };
}

/** The keys of persons are in the state database too; what is remembered of them is not. */
function personKeys(
  caches: readonly [making: PostgresSubjectKeys, finding: PostgresSubjectKeys],
  lookForErased: () => void,
): PersonKeys {
  const forget = (realm: string, subject: string) => {
    for (const cache of caches) cache.forget(realm, subject);
  };
  return {
    table: 'subject_keys',
    prepare: async (realm, subject) => {
      forget(realm, subject);
      await caches[0].of(realm, subject);
    },
    destroyed: (realm, subject) => {
      forget(realm, subject);
      lookForErased();
    },
  };
}

function addressOf(config: Config, url: string): ConnectionSettings {
  const { tls, ca_file: caFile, timeout } = config.postgres;
  return connectionSettings({ url, tls, caFile, connectTimeoutMs: timeout });
}

function newPool({ config, clock, random, log }: StorageDependencies, to: ConnectionSettings, connections: number) {
  return new PostgresPool({
    client: to.client,
    connections,
    maxWaiting: MAX_WAITING,
    connectTimeoutMs: config.postgres.timeout,
    failures: config.outage.failures,
    probeMs: config.outage.probe,
    clock,
    random,
    log,
  });
}

function newFlusher(deps: StorageDependencies, trail: LocalTrail, target: PostgresFlushTarget, pool: PostgresPool) {
  const { config, clock, random, log, note } = deps;
  const { audit } = config;
  return new Flusher({
    source: trail.source,
    target,
    audit: trail.audit,
    trail,
    mode: audit.mode,
    intervalMs: audit.flush_interval,
    batchRows: audit.flush_batch,
    bounds: { bytes: audit.max_bytes, ageMs: audit.max_age },
    isBusy: () => pool.isBusy,
    onClash: ({ chainId, sequence }) =>
      note('audit.chain_clash', 'FAILED', { chain: chainId, sequence: String(sequence) }),
    clock,
    random,
    log,
  });
}

/** Tries until PostgreSQL is there; what else is wrong with it is told at once. */
async function whenThere<T>(
  { clock, log }: StorageDependencies,
  { place }: ConnectionSettings,
  check: () => Promise<T>,
): Promise<T> {
  const until = clock.monotonic() + START_PATIENCE;
  for (let tries = 1; ; tries += 1) {
    try {
      return await check();
    } catch (error) {
      const away = error instanceof Fault && error.kind === 'unavailable';
      if (!away || clock.monotonic() >= until) throw error;
      if (tries === 1) log.warn('waiting for PostgreSQL', { place, error: error.message });
      await pause(START_RETRY);
    }
  }
}

async function openFront(deps: StorageDependencies): Promise<RedisFront> {
  const { openRedisFront } = await import('./redis-front.ts');
  return await openRedisFront(deps);
}
