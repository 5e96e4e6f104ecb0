import type { Client } from 'pg';
import type { Row, SqlValue, Tx } from '#src/adapters/sql/executor.ts';
import { migrate, missingMigrations, READ_LEDGER } from '#src/adapters/sql/migrate.ts';
import { text, whole } from '#src/adapters/sql/row.ts';
import { Fault } from '#src/domain/faults.ts';
import type { DurationMs, EpochMs } from '#src/domain/time.ts';
import type { Migration } from '#src/gen/sql/migrations.js';
import type { Clock } from '#src/ports/runtime.ts';
import { codeOf, explained } from './connection-failure.ts';
import type { ConnectionSettings } from './connection-settings.ts';
import { newClient } from './postgres-client.ts';
import { checkServer } from './server-check.ts';

/**
 * Migrations of the central database: forward only, all in one transaction, one process at a time. Everything is set with
 * SET LOCAL and every lock ends with the transaction, so it works through a pooler in transaction mode, and a process that
 * dies leaves nothing behind.
 */

/** "Sall", so that nobody else's advisory locks are ours. */
const LOCK = [0x53616c6c, 1] as const;
/** How long one wait for the lock is; between two of them the server notices that we are gone, and we can speak. */
const LOCK_SLICE_MS = 1_000;
/** A migration waits no longer for a table in use: behind it all others would wait too. */
const TABLE_LOCK_MS = 5_000;
const STATEMENT_MS = 600_000;
const IDLE_MS = 60_000;
const CLOSE_MS = 1_000;

export type MigrateStep =
  | { readonly step: 'waiting'; readonly waitedMs: DurationMs }
  | { readonly step: 'applying'; readonly migration: Migration };

export interface MigrateOptions {
  readonly settings: ConnectionSettings;
  readonly migrations: readonly Migration[];
  readonly clock: Clock;
  /** How long to wait for another process that migrates. */
  readonly lockWaitMs: DurationMs;
  readonly onStep?: (step: MigrateStep) => void;
  /** What belongs into the same transaction behind the migrations: partitions, grants. */
  readonly afterwards?: (tx: Pick<Tx, 'all' | 'run'>) => Promise<void>;
}

/** A migration in the ledger. */
export interface AppliedMigration {
  readonly version: number;
  readonly name: string;
  readonly appliedAt: EpochMs;
}

export interface SchemaStatus {
  readonly applied: readonly AppliedMigration[];
  readonly missing: readonly Migration[];
}

/**
 * Brings the database to the newest schema and answers how many migrations that took. Rejects with Fault(precondition)
 * when the database is not one for this version, with Fault(unavailable) when it is away or another process migrates for
 * longer than `lockWaitMs`; the database is as it was then.
 */
export async function migrateDatabase(options: MigrateOptions): Promise<number> {
  const { settings, migrations, clock } = options;
  return await connected(settings, async (client, tx) => {
    await beginAlone(client, options);
    const applied = await migrate(tx, migrations, clock.now(), (migration) =>
      options.onStep?.({ step: 'applying', migration }),
    );
    await options.afterwards?.(tx);
    await client.query('COMMIT');
    return applied;
  });
}

/** What is applied and what is missing, without changing anything or waiting for anybody. Rejects as `migrateDatabase`. */
export async function schemaStatus(
  settings: ConnectionSettings,
  migrations: readonly Migration[],
): Promise<SchemaStatus> {
  return await connected(settings, async (client, tx) => {
    await client.query(`BEGIN READ ONLY; SET LOCAL statement_timeout = ${LOCK_SLICE_MS * 10}`);
    await checkServer(tx);
    const ledger = (await hasLedger(tx)) ? await tx.all(READ_LEDGER) : [];
    await client.query('COMMIT');
    const missing = missingMigrations(ledger, migrations);
    return { missing, applied: ledger.map(appliedOf) };
  });
}

export async function hasLedger(tx: Pick<Tx, 'all'>): Promise<boolean> {
  const [row] = await tx.all(`SELECT to_regclass('schema_migrations') IS NOT NULL AS there`);
  // The driver answers booleans as such.
  return (row as { readonly there?: unknown } | undefined)?.there === true;
}

function appliedOf(row: Row): AppliedMigration {
  return { version: whole(row, 'version'), name: text(row, 'name'), appliedAt: whole(row, 'applied_at') };
}

/** One connection for `work`, closed afterwards; what the server refuses is explained. */
async function connected<T>(
  settings: ConnectionSettings,
  work: (client: Client, tx: Pick<Tx, 'all' | 'run'>) => Promise<T>,
): Promise<T> {
  const client = newClient({ ...settings.client, query_timeout: STATEMENT_MS + LOCK_SLICE_MS });
  // The loss of the connection between two statements is told here alone, and the next one fails for no reason of its own.
  let lost: Error | undefined;
  client.on('error', (error) => {
    lost ??= error;
  });
  try {
    await client.connect();
    return await work(client, txOf(client));
  } catch (error) {
    throw foreign(error) ?? explained(lost ?? error, settings);
  } finally {
    await close(client);
  }
}

/** What was not committed is undone by the server. One that answers nothing any more is not waited for. */
async function close(client: Client): Promise<void> {
  const late = setTimeout(() => client.connection.stream.destroy(), CLOSE_MS);
  try {
    await client.end();
  } catch {
    // It is gone already.
  } finally {
    clearTimeout(late);
  }
}

function txOf(client: Client): Pick<Tx, 'all' | 'run'> {
  return {
    all: async (sql: string, ...params: readonly SqlValue[]) => (await client.query<Row>(sql, [...params])).rows,
    // Without parameters it may be several statements.
    run: async (sql: string, ...params: readonly SqlValue[]) =>
      (await (params.length === 0 ? client.query(sql) : client.query(sql, [...params]))).rowCount ?? 0,
  };
}

/** Begins the transaction and holds the lock of migrations in it. */
async function beginAlone(client: Client, { clock, lockWaitMs, onStep }: MigrateOptions): Promise<void> {
  const from = clock.monotonic();
  for (;;) {
    // Each statement of READ COMMITTED sees what others committed while this one waited for the lock.
    await client.query(
      `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
       SET LOCAL lock_timeout = ${LOCK_SLICE_MS};
       SET LOCAL statement_timeout = ${STATEMENT_MS};
       SET LOCAL idle_in_transaction_session_timeout = ${IDLE_MS}`,
    );
    await checkServer(txOf(client));
    try {
      await client.query('SELECT pg_advisory_xact_lock($1, $2)', [...LOCK]);
      await client.query(`SET LOCAL lock_timeout = ${TABLE_LOCK_MS}`);
      return;
    } catch (error) {
      if (codeOf(error) !== '55P03') throw error;
      await client.query('ROLLBACK');
    }
    const waitedMs = clock.monotonic() - from;
    if (waitedMs + LOCK_SLICE_MS > lockWaitMs) {
      throw new Fault(
        'unavailable',
        'STORE_UNAVAILABLE',
        `another process has been migrating this database for ${Math.round(waitedMs / 1000)} s: run the command again when it is done, or allow more time with --wait`,
      );
    }
    onStep?.({ step: 'waiting', waitedMs });
  }
}

/** Errors that say that the database belongs to another program, or is in use by one. */
function foreign(error: unknown): Fault | undefined {
  const code = codeOf(error);
  const said = error instanceof Error ? error.message : '';
  const refuse = (kind: 'precondition' | 'unavailable', why: string) =>
    new Fault(kind, 'STORE_UNAVAILABLE', why, { cause: error });
  if (code === '42P07' || code === '42710' || code === '42723') {
    return refuse(
      'precondition',
      `the database has something already that is not of Sallyport (${said}): give Sallyport a database of its own`,
    );
  }
  if (code === '42703' && /"?(?:version|name|checksum|applied_at)"?/.test(said)) {
    return refuse(
      'precondition',
      `the table schema_migrations is of another program (${said}): give Sallyport a database of its own`,
    );
  }
  if (code === '55P03') {
    return refuse(
      'unavailable',
      'a table is in use by a long transaction, so nothing was changed: end that transaction, or run the command again later',
    );
  }
  return undefined;
}
