import type { Row, SqlExecutor } from '#src/adapters/sql/executor.ts';
import { missingMigrations, READ_LEDGER } from '#src/adapters/sql/migrate.ts';
import { text, whole } from '#src/adapters/sql/row.ts';
import { Fault } from '#src/domain/faults.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Migration } from '#src/gen/sql/migrations.js';
import type { Clock } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { clocksDiffer, MOST_SKEW_MS, measureSkew, NOTED_SKEW_MS } from './clock-skew.ts';
import { explained } from './connection-failure.ts';
import type { ConnectionSettings } from './connection-settings.ts';
import { type Access, FUNCTION_RIGHTS, privilegesOf, TABLE_RIGHTS } from './rights.ts';
import { checkServer } from './server-check.ts';

const KEY_RING = 'key-ring';

export interface SchemaRequirement {
  readonly sql: SqlExecutor;
  /** Where `sql` leads to, for messages. */
  readonly at: Pick<ConnectionSettings, 'place' | 'user' | 'database'>;
  readonly migrations: readonly Migration[];
  /** What the role is used for: the flush too, unless it has a role of its own. */
  readonly access: readonly Access[];
  readonly keyRingFingerprint: string;
  readonly clock: Clock;
  readonly log: Log;
}

export interface SchemaFacts {
  readonly version: number;
  /** By how much the clock of the database is ahead of ours, as exact as the way there is short. */
  readonly skewMs: DurationMs;
}

/**
 * What a sidecar makes sure of before it trusts the central database. It changes nothing but the mark of the key ring,
 * which the first sidecar leaves: a fleet that migrated at start would let an old release and a new one fight. Rejects with
 * Fault(precondition) and the command to run when the database is not one for this sidecar, with Fault(unavailable) when it
 * is away.
 */
export async function requireSchema(options: SchemaRequirement): Promise<SchemaFacts> {
  try {
    return await check(options);
  } catch (error) {
    throw explained(error, options.at);
  }
}

async function check(options: SchemaRequirement): Promise<SchemaFacts> {
  const { sql, migrations, access, log } = options;
  for (const warning of await checkServer({ all: (query, ...params) => sql.read(query, ...params) })) log.warn(warning);
  await requireLedger(sql, migrations);
  await checkRights(sql, access, log);
  await requireSameRing(sql, options.keyRingFingerprint);
  const skewMs = await measureSkew(sql, options.clock);
  if (Math.abs(skewMs) > MOST_SKEW_MS) throw refusal(clocksDiffer(skewMs));
  if (Math.abs(skewMs) > NOTED_SKEW_MS) {
    log.warn('the clocks of this machine and of PostgreSQL differ: check their time service', { skew_ms: skewMs });
  }
  return { version: migrations.length, skewMs };
}

async function requireLedger(sql: SqlExecutor, migrations: readonly Migration[]): Promise<void> {
  const row = only(
    await sql.read(
      `SELECT (to_regclass('schema_migrations') IS NOT NULL)::int AS there, current_user AS role,
              COALESCE(has_table_privilege(to_regclass('schema_migrations'), 'SELECT'), false)::int AS readable`,
    ),
  );
  if (whole(row, 'there') === 0) throw refusal('it is empty: run sallyport migrate');
  if (whole(row, 'readable') === 0) {
    const role = text(row, 'role');
    throw refusal(`the role ${role} has no rights there: run sallyport migrate --grant-to ${role}`);
  }
  const missing = missingMigrations(await sql.read(READ_LEDGER), migrations);
  if (missing.length > 0) {
    throw refusal(
      `its schema is at version ${migrations.length - missing.length}, and this sidecar needs version ${migrations.length}: run sallyport migrate of this release`,
    );
  }
}

/**
 * Whether the role that we log in as has what it needs, for instance after a migration that brought a table. A role that
 * owns the schema is taken, with a warning: it could take the trail away. Rejects as `requireSchema`; with `at` also for
 * what a connection meets.
 */
export async function requireRights(
  sql: SqlExecutor,
  access: readonly Access[],
  log: Log,
  at?: SchemaRequirement['at'],
): Promise<void> {
  try {
    await checkRights(sql, access, log);
  } catch (error) {
    throw at === undefined ? error : explained(error, at);
  }
}

async function checkRights(sql: SqlExecutor, access: readonly Access[], log: Log): Promise<void> {
  const wanted = [
    ...Object.entries(TABLE_RIGHTS).flatMap(([name, rights]) =>
      privilegesOf(rights, access).map((privilege) => ({ kind: 'table', name, privilege })),
    ),
    ...Object.entries(FUNCTION_RIGHTS).flatMap(([name, rights]) =>
      privilegesOf(rights, access).map((privilege) => ({ kind: 'function', name, privilege })),
    ),
  ];
  const rows = await sql.read(
    `SELECT current_user AS role, wanted.name, wanted.privilege
     FROM json_to_recordset($1::json) AS wanted (kind text, name text, privilege text)
     WHERE NOT COALESCE(CASE wanted.kind
       WHEN 'table' THEN has_table_privilege(to_regclass(wanted.name), wanted.privilege)
       ELSE has_function_privilege(to_regprocedure(wanted.name), wanted.privilege) END, false)
     ORDER BY wanted.name, wanted.privilege LIMIT 1`,
    JSON.stringify(wanted),
  );
  const [lacking] = rows;
  if (lacking) {
    const role = text(lacking, 'role');
    const options = access.map((one) => (one === 'state' ? `--grant-to ${role}` : `--grant-audit-to ${role}`));
    throw refusal(
      `the role ${role} may not ${text(lacking, 'privilege')} on ${text(lacking, 'name')}: run sallyport migrate ${options.join(' ')}`,
    );
  }
  const owner = only(
    await sql.read(
      `SELECT count(*)::int AS owned, current_user AS role FROM pg_class
       WHERE relnamespace = current_schema()::regnamespace AND pg_has_role(relowner, 'MEMBER')`,
    ),
  );
  if (whole(owner, 'owned') > 0) {
    log.warn(
      'the PostgreSQL role of this sidecar owns the schema: give it a role of its own, see sallyport migrate --grant-to',
      {
        role: text(owner, 'role'),
      },
    );
  }
}

async function requireSameRing(sql: SqlExecutor, fingerprint: string): Promise<void> {
  if ((await ringOf(sql)) === undefined) {
    await sql.unit((tx) =>
      tx.run('INSERT INTO marks (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING', KEY_RING, fingerprint),
    );
  }
  if ((await ringOf(sql)) === fingerprint) return;
  throw refusal(
    'it is sealed under another key ring: give every sidecar of the fleet the same key file (keys.file), or start with an empty database',
  );
}

async function ringOf(sql: SqlExecutor): Promise<string | undefined> {
  const [row] = await sql.read('SELECT value FROM marks WHERE name = $1', KEY_RING);
  return row && text(row, 'value');
}

function only(rows: readonly Row[]): Row {
  const [row] = rows;
  if (!row) throw new Error('the server answered nothing');
  return row;
}

function refusal(why: string): Fault {
  return new Fault('precondition', 'STORE_UNAVAILABLE', `the central database cannot be used: ${why}`);
}
