import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectionSettings } from '#src/adapters/postgres/connection-settings.ts';
import {
  type MigrateOptions,
  type MigrateStep,
  migrateDatabase,
  schemaStatus,
} from '#src/adapters/postgres/migrate-runner.ts';
import { FUNCTION_RIGHTS, TABLE_RIGHTS } from '#src/adapters/postgres/rights.ts';
import { systemClock } from '#src/adapters/system.ts';
import { type Migration, postgresMigrations } from '#src/gen/sql/migrations.js';
import { type PostgresServer, startPostgres } from '../../scripts/servers/postgres.ts';
import { describeSchema } from '../support/postgres-schema.ts';

let server: PostgresServer;
let made = 0;

beforeAll(async () => {
  server = await startPostgres();
  await server.createRole('owner');
});
afterAll(() => server[Symbol.asyncDispose]());

async function emptyDatabase() {
  made += 1;
  const name = `db${made}`;
  return { name, url: await server.createDatabase(name, 'owner') };
}

function settingsOf(url: string) {
  return connectionSettings({ url, tls: 'off', caFile: '', connectTimeoutMs: 5_000 });
}

function run(url: string, migrations: readonly Migration[], more: Partial<MigrateOptions> = {}): Promise<number> {
  return migrateDatabase({ settings: settingsOf(url), migrations, clock: systemClock, lockWaitMs: 20_000, ...more });
}

const one: Migration = { version: 1, name: 'one', checksum: 'c1', statements: ['CREATE TABLE one (id TEXT)'] };
const two: Migration = { version: 2, name: 'two', checksum: 'c2', statements: ['CREATE TABLE two (id TEXT)'] };

const tablesOf = async (database: string) =>
  (
    await server.query(
      `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'`,
      [],
      database,
    )
  )
    .map((row) => String(row['relname']))
    .sort();

/** Holds the lock of migrations in a transaction of its own until it is let go. */
async function holdLock(url: string) {
  const client = new Client({ connectionString: url });
  await client.connect();
  await client.query('BEGIN');
  await client.query('SELECT pg_advisory_xact_lock($1, $2)', [0x53616c6c, 1]);
  return { release: () => client.end() };
}

describe('the schema', () => {
  it('is the one that is written down in postgres.golden.sql', async () => {
    const { name, url } = await emptyDatabase();
    expect(await run(url, postgresMigrations)).toBe(postgresMigrations.length);
    await expect(await describeSchema(server, name)).toMatchFileSnapshot('./postgres.golden.sql');
  });

  it('has rights written down for each of its tables and functions, and for nothing else', async () => {
    const { name, url } = await emptyDatabase();
    await run(url, postgresMigrations);
    const tables = await server.query<{ name: string }>(
      `SELECT relname AS name FROM pg_class
       WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT relispartition`,
      [],
      name,
    );
    expect(tables.map((row) => row.name).sort()).toEqual(Object.keys(TABLE_RIGHTS).sort());
    const functions = await server.query<{ name: string }>(
      `SELECT oid::regprocedure::text AS name FROM pg_proc WHERE pronamespace = 'public'::regnamespace`,
      [],
      name,
    );
    const written = Object.keys(FUNCTION_RIGHTS).map((signature) => signature.replaceAll(', ', ','));
    expect(functions.map((row) => row.name).sort()).toEqual(written.sort());
  });
});

describe('migrating', () => {
  it('applies what is missing, in order, and notes it in the ledger', async () => {
    const { name, url } = await emptyDatabase();
    const steps: MigrateStep[] = [];
    expect(await run(url, [one])).toBe(1);
    expect(await run(url, [one])).toBe(0);
    expect(await run(url, [one, two], { onStep: (step) => steps.push(step) })).toBe(1);
    expect(steps).toEqual([{ step: 'applying', migration: two }]);
    expect(await tablesOf(name)).toEqual(['one', 'schema_migrations', 'two']);
    const { applied, missing } = await schemaStatus(settingsOf(url), [one, two]);
    expect(applied).toMatchObject([
      { version: 1, name: 'one' },
      { version: 2, name: 'two' },
    ]);
    expect(missing).toEqual([]);
  });

  it('tells the state of an empty database without making anything in it', async () => {
    const { name, url } = await emptyDatabase();
    expect(await schemaStatus(settingsOf(url), [one, two])).toEqual({ applied: [], missing: [one, two] });
    expect(await tablesOf(name)).toEqual([]);
  });

  it('leaves nothing of a run that fails in its second migration', async () => {
    const { name, url } = await emptyDatabase();
    const broken = { ...two, statements: [...two.statements, 'CREATE TABLE three (id NOSUCHTYPE)'] };
    await expect(run(url, [one, broken])).rejects.toThrow('nosuchtype');
    expect(await tablesOf(name)).toEqual([]);
  });

  it('leaves nothing when what belongs behind the migrations fails', async () => {
    const { name, url } = await emptyDatabase();
    const afterwards = () => Promise.reject(new Error('no'));
    await expect(run(url, [one], { afterwards })).rejects.toThrow('no');
    expect(await tablesOf(name)).toEqual([]);
  });

  it('refuses a database of a newer version, for a run and for a look, and says what to do', async () => {
    const { url } = await emptyDatabase();
    await run(url, [one, two]);
    const refusal = {
      kind: 'precondition',
      message: expect.stringMatching(/schema version 2 \(two\).*knows only 1: start the newer version again/),
    };
    await expect(run(url, [one])).rejects.toMatchObject(refusal);
    await expect(schemaStatus(settingsOf(url), [one])).rejects.toMatchObject(refusal);
  });

  it('refuses a migration that was changed after it was applied', async () => {
    const { name, url } = await emptyDatabase();
    await run(url, [one]);
    const changed = { ...one, checksum: 'other', statements: ['CREATE TABLE other (id TEXT)'] };
    await expect(run(url, [changed, two])).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringContaining('migration 1 (one) is not the one'),
    });
    expect(await tablesOf(name)).toEqual(['one', 'schema_migrations']);
  });

  it('sees what another run applied while it waited, and applies it once', async () => {
    const { name, url } = await emptyDatabase();
    const counts = await Promise.all(Array.from({ length: 8 }, () => run(url, [one, two])));
    expect(counts.sort()).toEqual([0, 0, 0, 0, 0, 0, 0, 2]);
    expect(await tablesOf(name)).toEqual(['one', 'schema_migrations', 'two']);
  });

  it('says that it waits for another one, and gives up in time', async () => {
    const { name, url } = await emptyDatabase();
    const lock = await holdLock(url);
    const steps: MigrateStep[] = [];
    // Each look at this clock is a slice of waiting later, however long the machine took for it.
    let looks = 0;
    const clock = { ...systemClock, monotonic: () => 1_000 * looks++ };
    const patience = { clock, lockWaitMs: 2_500, onStep: (step: MigrateStep) => steps.push(step) };
    await expect(run(url, [one], patience)).rejects.toMatchObject({
      kind: 'unavailable',
      message: expect.stringMatching(/another process has been migrating this database for 2 s: run the command again/),
    });
    expect(steps.map(({ step }) => step)).toEqual(['waiting']);
    expect(await tablesOf(name)).toEqual([]);
    await lock.release();
    expect(await run(url, [one])).toBe(1);
  });

  it('does not queue behind a table in use for long', async () => {
    const { url } = await emptyDatabase();
    await run(url, [one]);
    const client = new Client({ connectionString: url });
    await client.connect();
    await client.query('BEGIN; SELECT * FROM one');
    const alter = { ...two, statements: ['ALTER TABLE one ADD COLUMN more TEXT'] };
    await expect(run(url, [one, alter])).rejects.toMatchObject({
      kind: 'unavailable',
      message: expect.stringContaining('a table is in use by a long transaction, so nothing was changed'),
    });
    await client.end();
    expect(await run(url, [one, alter])).toBe(1);
  });

  it('is refused without leaving anything when the connection breaks in the middle', async () => {
    const { name, url } = await emptyDatabase();
    const afterwards = async () => {
      await server.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, [name]);
    };
    await expect(run(url, [one], { afterwards })).rejects.toMatchObject({ kind: 'unavailable' });
    expect(await tablesOf(name)).toEqual([]);
    expect(await run(url, [one])).toBe(1);
  });
});

describe('a database that is not for it', () => {
  it.each([
    ['a table of the same name', 'CREATE TABLE one (other INT)', 'has something already that is not of Sallyport'],
    [
      'a ledger of another program',
      'CREATE TABLE schema_migrations (version VARCHAR PRIMARY KEY)',
      'the table schema_migrations is of another program',
    ],
  ])('is refused: %s', async (_what, statement, why) => {
    const { name, url } = await emptyDatabase();
    await server.query(statement, [], name);
    await server.query(`ALTER TABLE ${statement.split(' ')[2]} OWNER TO owner`, [], name);
    await expect(run(url, [one])).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringContaining(why),
    });
  });

  it('is refused when it is not in UTF-8', async () => {
    await server.query(`CREATE DATABASE latin OWNER owner ENCODING 'LATIN1' TEMPLATE template0`);
    await expect(run(server.url('latin', 'owner'), [one])).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringContaining(`its encoding is LATIN1: make the database with ENCODING 'UTF8'`),
    });
  });

  it('is refused when the role may not make tables, and the role is named', async () => {
    const { url } = await emptyDatabase();
    await server.createRole('guest');
    const guest = server.url(new URL(url).pathname.slice(1), 'guest');
    await expect(run(guest, [one])).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringMatching(/the role guest may not do this .*permission denied for schema public/),
    });
  });
});
