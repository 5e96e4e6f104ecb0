import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { migrate } from '#src/adapters/sql/migrate.ts';
import { sqliteMigrations } from '#src/gen/sql/migrations.js';
import { PostgresServer } from '../../scripts/servers/postgres.ts';
import { newDatabase } from '../support/postgres-stores.ts';
import { postgresShape, type Shape, sqliteShape } from '../support/schema-shape.ts';

/** Personal keys live in `subject_keys` there, since all sidecars share them. */
const LOCAL_ONLY = ['subjects'];

let server: PostgresServer;
let local: Shape;
let central: Shape;
beforeAll(async () => {
  server = await PostgresServer.start();
  central = await postgresShape(server, (await newDatabase(server)).name);
  const db = new Database(':memory:');
  await migrate(
    {
      all: (sql) => db.prepare<[], Record<string, string | number>>(sql).all(),
      run: (sql, ...params) => run(db, sql, params),
    },
    sqliteMigrations,
    0,
  );
  local = sqliteShape(db);
});
afterAll(() => server[Symbol.asyncDispose]());

function run(db: Database.Database, sql: string, params: readonly unknown[]): number {
  return db.prepare(sql).run(Object.fromEntries(params.map((value, index) => [index + 1, value]))).changes;
}

const shared = () => Object.keys(local).filter((table) => !LOCAL_ONLY.includes(table));

it('has every table of SQLite in PostgreSQL, but for those of one machine', () => {
  expect(Object.keys(central)).toEqual(expect.arrayContaining(shared()));
  for (const table of LOCAL_ONLY) expect(central).not.toHaveProperty(table);
  expect(shared().length).toBeGreaterThan(10);
});

it('has the same columns in the same order, of the same kind, as optional as there', () => {
  for (const table of shared())
    expect({ [table]: central[table]?.columns }).toEqual({ [table]: local[table]?.columns });
});

it('has the same unique keys, with the same conditions', () => {
  for (const table of shared()) expect({ [table]: central[table]?.keys }).toEqual({ [table]: local[table]?.keys });
});

it('has the same indexes', () => {
  for (const table of shared())
    expect({ [table]: central[table]?.indexes }).toEqual({ [table]: local[table]?.indexes });
});

it('has as many checks and references', () => {
  for (const table of shared()) {
    expect({ [table]: central[table]?.checks }).toEqual({ [table]: local[table]?.checks });
    expect({ [table]: central[table]?.references }).toEqual({ [table]: local[table]?.references });
  }
});

it('orders all text by its bytes, so that no index depends on the locales of a machine', async () => {
  for (const table of shared()) {
    if (table === 'schema_migrations') continue;
    expect({ [table]: central[table]?.collations.filter((collation) => collation !== 'C') }).toEqual({ [table]: [] });
  }
});
