import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectionSettings } from '#src/adapters/postgres/connection-settings.ts';
import { type Grant, grantAccess } from '#src/adapters/postgres/grants.ts';
import { migrateDatabase } from '#src/adapters/postgres/migrate-runner.ts';
import { type Access, FUNCTION_RIGHTS, type Rights, TABLE_RIGHTS } from '#src/adapters/postgres/rights.ts';
import { systemClock } from '#src/adapters/system.ts';
import { postgresMigrations } from '#src/gen/sql/migrations.js';
import { type PostgresServer, startPostgres } from '../../../scripts/servers/postgres.ts';

let server: PostgresServer;

beforeAll(async () => {
  server = await startPostgres();
  for (const role of ['owner', 'state', 'audit', 'both', 'late']) await server.createRole(role);
  await server.createDatabase('auth', 'owner');
  await grant('auth', [
    { role: 'state', access: 'state' },
    { role: 'audit', access: 'audit' },
    { role: 'both', access: 'state' },
    { role: 'both', access: 'audit' },
  ]);
});
afterAll(() => server[Symbol.asyncDispose]());

function grant(database: string, grants: readonly Grant[]): Promise<number> {
  const settings = connectionSettings({
    url: server.url(database, 'owner'),
    tls: 'off',
    caFile: '',
    connectTimeoutMs: 5_000,
  });
  return migrateDatabase({
    settings,
    migrations: postgresMigrations,
    clock: systemClock,
    lockWaitMs: 10_000,
    afterwards: (tx) => grantAccess(tx, grants),
  });
}

/** Answers the SQLSTATE that a statement is refused with, undefined when it runs; nothing of it stays. */
async function trial(client: Client, statement: string): Promise<string | undefined> {
  await client.query('BEGIN');
  try {
    await client.query(statement);
    return undefined;
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  } finally {
    await client.query('ROLLBACK');
  }
}

async function as<T>(role: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: server.url('auth', role) });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

const INSUFFICIENT_PRIVILEGE = '42501';
const NOT_NULL_VIOLATION = '23502';

/** Statements by the privilege that they need; for `OWN` that is owning the table. */
function statementsOn(table: string, column: string): readonly (readonly [string, string])[] {
  return [
    ['SELECT', `SELECT * FROM ${table}`],
    ['SELECT', `COPY (SELECT * FROM ${table}) TO STDOUT`],
    ['INSERT', `INSERT INTO ${table} DEFAULT VALUES`],
    ['UPDATE', `UPDATE ${table} SET ${column} = NULL WHERE false`],
    ['UPDATE', `SELECT * FROM ${table} FOR UPDATE`],
    ['DELETE', `DELETE FROM ${table} WHERE false`],
    ['OWN', `TRUNCATE ${table}`],
    ['OWN', `TRUNCATE ${table} CASCADE`],
    ['OWN', `DROP TABLE ${table} CASCADE`],
    ['OWN', `ALTER TABLE ${table} ADD COLUMN more TEXT`],
    ['OWN', `ALTER TABLE ${table} DROP COLUMN ${column} CASCADE`],
    ['OWN', `ALTER TABLE ${table} RENAME TO other`],
    ['OWN', `ALTER TABLE ${table} DISABLE TRIGGER ALL`],
    ['OWN', `ALTER TABLE ${table} OWNER TO CURRENT_USER`],
    ['OWN', `CREATE INDEX extra ON ${table} (${column})`],
    [
      'OWN',
      `CREATE TRIGGER extra BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
    ],
    ['OWN', `CREATE RULE extra AS ON DELETE TO ${table} DO INSTEAD NOTHING`],
    ['OWN', `CREATE POLICY extra ON ${table} USING (true)`],
    ['OWN', `LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`],
  ];
}

function allows(privilege: string, statement: string, may: readonly string[]): boolean {
  if (privilege !== 'OWN') return may.includes(privilege);
  // Whoever may change rows may keep others from changing them; it ends with the transaction.
  if (statement.startsWith('LOCK')) return may.includes('UPDATE') || may.includes('DELETE');
  return false;
}

/** By table the first column that a statement may give a value of its own. */
const firstColumns = async () =>
  new Map(
    (
      await server.query<{ table: string; column: string }>(
        `SELECT DISTINCT ON (relname) relname AS table, attname AS column
         FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND attidentity = ''
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname, attnum`,
        [],
        'auth',
      )
    ).map(({ table, column }) => [table, column] as const),
  );

const ROLES: readonly (readonly [string, readonly Access[]])[] = [
  ['state', ['state']],
  ['audit', ['audit']],
  ['both', ['state', 'audit']],
];

describe.each(ROLES)('the role %s', (role, access) => {
  const mayOn = (rights: Rights) => access.flatMap((one) => rights[one] ?? []);

  it.each(Object.entries(TABLE_RIGHTS))(
    'may do with %s what is written down, and nothing else',
    async (table, rights) => {
      const column = (await firstColumns()).get(table) ?? '';
      const may = mayOn(rights);
      await as(role, async (client) => {
        for (const [privilege, statement] of statementsOn(table, column)) {
          const code = await trial(client, statement);
          // Rights are checked before values are.
          const done = statement.startsWith('INSERT') ? NOT_NULL_VIOLATION : undefined;
          const expected = allows(privilege, statement, may) ? done : INSUFFICIENT_PRIVILEGE;
          expect([statement, code]).toEqual([statement, expected]);
        }
        // A GRANT in vain is but a warning to a role that has rights of its own, so its effect tells.
        await client.query(`GRANT ALL ON ${table} TO late`).catch(() => undefined);
        const { rows } = await client.query(
          `SELECT has_table_privilege('late', '${table}', 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') AS can`,
        );
        expect(rows).toEqual([{ can: false }]);
      });
    },
  );

  it('reaches partitions through their table only', async () => {
    const partitions = await server.query<{ name: string }>(
      `SELECT relname AS name FROM pg_class WHERE relispartition AND relkind = 'r'`,
      [],
      'auth',
    );
    expect(partitions.length).toBeGreaterThanOrEqual(6);
    await as(role, async (client) => {
      for (const { name } of partitions) {
        for (const statement of [
          `SELECT * FROM ${name}`,
          `DELETE FROM ${name}`,
          `TRUNCATE ${name}`,
          `DROP TABLE ${name}`,
        ])
          expect([statement, await trial(client, statement)]).toEqual([statement, INSUFFICIENT_PRIVILEGE]);
      }
    });
  });

  it.each([
    'CREATE TABLE extra (id TEXT)',
    'CREATE TEMPORARY TABLE sessions (id TEXT)',
    'CREATE SCHEMA extra',
    'CREATE VIEW extra AS SELECT 1',
    'CREATE SEQUENCE extra',
    'CREATE FUNCTION extra() RETURNS INT LANGUAGE sql AS $$ SELECT 1 $$',
    'CREATE OR REPLACE FUNCTION audit_head(chain TEXT) RETURNS INT LANGUAGE sql AS $$ SELECT 1 $$',
    'DROP FUNCTION audit_head(TEXT)',
    'ALTER SEQUENCE audit_events_position_seq RESTART',
    `SELECT setval('audit_events_position_seq', 1)`,
    `SELECT nextval('audit_events_position_seq')`,
    'CREATE ROLE extra',
    'SET ROLE owner',
    'SET SESSION AUTHORIZATION owner',
    'SET session_replication_role = replica',
    `COPY (SELECT 1) TO PROGRAM 'true'`,
    `SELECT pg_read_file('PG_VERSION')`,
    'ALTER SYSTEM SET fsync = off',
  ])('may not %s', async (statement) => {
    const code = await as(role, (client) =>
      statement.startsWith('ALTER SYSTEM')
        ? client.query(statement).then(
            () => undefined,
            (error: { code?: string }) => error.code,
          )
        : trial(client, statement),
    );
    expect(code).toBe(INSUFFICIENT_PRIVILEGE);
  });

  it('may call the functions that are written down', async () => {
    for (const [name, rights] of Object.entries(FUNCTION_RIGHTS)) {
      const args = [...name.matchAll(/(text\[\]|bigint\[\]|text|integer)/g)].map(([type]) => `NULL::${type}`);
      const call = `SELECT * FROM ${name.replace(/\(.*/, '')}(${args.join(', ')})`;
      const code = await as(role, (client) => trial(client, call));
      if (mayOn(rights).includes('EXECUTE')) expect([call, code]).not.toEqual([call, INSUFFICIENT_PRIVILEGE]);
      else expect([call, code]).toEqual([call, INSUFFICIENT_PRIVILEGE]);
    }
  });
});

describe('granting', () => {
  it('takes away what a role had before', async () => {
    await server.query('GRANT ALL ON ALL TABLES IN SCHEMA public TO late', [], 'auth');
    await server.query('GRANT UPDATE (record) ON audit_events TO late', [], 'auth');
    await grant('auth', [{ role: 'late', access: 'audit' }]);
    const rows = await server.query(
      `SELECT DISTINCT privilege_type AS can FROM information_schema.table_privileges WHERE grantee = 'late'`,
      [],
      'auth',
    );
    expect(rows).toEqual([{ can: 'INSERT' }]);
    const columns = await server.query(
      `SELECT has_any_column_privilege('late', 'audit_events', 'UPDATE') AS can`,
      [],
      'auth',
    );
    expect(columns).toEqual([{ can: false }]);
  });

  it('is refused for a role that is not there, and changes nothing', async () => {
    await expect(grant('auth', [{ role: 'no"body', access: 'state' }])).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringContaining(`there is no role no"body: make it first, with CREATE ROLE "no""body" LOGIN`),
    });
  });

  it.each([
    ['an owner', 'owner', [], /the role owner owns the table/],
    ['a superuser', 'postgres', [], /the role postgres is SUPERUSER .*no grant can limit that/],
    ['one who makes roles', 'maker', ['ALTER ROLE maker CREATEROLE'], /the role maker is CREATEROLE/],
    ['a member of the owner', 'child', ['GRANT owner TO child'], /is a member of the role that does/],
    [
      'a member of a superuser, even without inheriting',
      'heir',
      ['ALTER ROLE heir NOINHERIT', 'GRANT postgres TO heir'],
      /the role heir is a member of postgres, which is SUPERUSER/,
    ],
    [
      'a member of a role that may write all',
      'writer',
      ['GRANT pg_write_all_data TO writer'],
      /the role writer may still/,
    ],
  ])('is refused for %s', async (_who, role, statements, why) => {
    if (!server.passwords.has(role)) await server.createRole(role);
    for (const statement of statements) await server.query(statement);
    for (const access of ['state', 'audit'] as const)
      await expect(grant('auth', [{ role, access }])).rejects.toMatchObject({
        kind: 'precondition',
        message: expect.stringMatching(why),
      });
  });

  it('closes a schema that everybody may make tables in, as servers before release 15 have it', async () => {
    await server.createDatabase('open', 'owner');
    await server.query('GRANT CREATE ON SCHEMA public TO PUBLIC', [], 'open');
    await grant('open', [{ role: 'audit', access: 'audit' }]).catch(() => undefined);
    await server.query('ALTER SCHEMA public OWNER TO owner', [], 'open');
    await grant('open', [{ role: 'audit', access: 'audit' }]);
    const [row] = await server.query(`SELECT has_schema_privilege('audit', 'public', 'CREATE') AS can`, [], 'open');
    expect(row).toEqual({ can: false });
  });
});
