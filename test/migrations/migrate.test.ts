import Database from 'better-sqlite3';
import { expect, it } from 'vitest';
import type { SqlValue, Tx } from '#src/adapters/sql/executor.ts';
import { migrate } from '#src/adapters/sql/migrate.ts';
import { sqliteMigrations } from '#src/gen/sql/migrations.js';

function newDatabase() {
  const db = new Database(':memory:');
  const bind = (params: readonly SqlValue[]) => Object.fromEntries(params.map((value, index) => [index + 1, value]));
  const tx: Pick<Tx, 'all' | 'run'> = {
    all: (sql, ...params) => db.prepare<object, Record<string, SqlValue>>(sql).all(bind(params)),
    run: (sql, ...params) => db.prepare(sql).run(bind(params)).changes,
  };
  const schema = () => {
    const rows = db
      .prepare<[], { sql: string }>('SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name')
      .all();
    return rows.map(({ sql }) => `${sql};\n`).join('\n');
  };
  return { db, tx, schema };
}

const [first] = sqliteMigrations;
if (!first) throw new Error('there is no migration');
const second = { version: 2, name: 'more', checksum: 'c2', statements: ['CREATE TABLE more (id TEXT) STRICT'] };

it('makes the schema that is written down in sqlite.golden.sql', async () => {
  const { tx, schema } = newDatabase();
  expect(await migrate(tx, sqliteMigrations, 1_000)).toBe(sqliteMigrations.length);
  await expect(schema()).toMatchFileSnapshot('./sqlite.golden.sql');
});

it('makes strict tables only', async () => {
  const { db, tx } = newDatabase();
  await migrate(tx, sqliteMigrations, 1_000);
  const tables = db.prepare<[], { name: string; strict: number }>('PRAGMA table_list').all();
  const loose = tables.filter(({ name, strict }) => strict === 0 && !name.startsWith('sqlite_'));
  // The ledger is written in what both engines understand.
  expect(loose.map(({ name }) => name)).toEqual(['schema_migrations']);
});

it('applies each migration once and notes it in the ledger', async () => {
  const { db, tx, schema } = newDatabase();
  await migrate(tx, [first], 1_000);
  expect(await migrate(tx, [first], 2_000)).toBe(0);
  expect(await migrate(tx, [first, second], 3_000)).toBe(1);
  expect(db.prepare('SELECT version, name, checksum, applied_at FROM schema_migrations').all()).toEqual([
    { version: 1, name: 'initial', checksum: first.checksum, applied_at: 1_000 },
    { version: 2, name: 'more', checksum: 'c2', applied_at: 3_000 },
  ]);
  expect(schema()).toContain('CREATE TABLE more');
});

it('refuses a database of a newer version and says to start that one', async () => {
  const { tx } = newDatabase();
  await migrate(tx, [first, second], 1_000);
  await expect(migrate(tx, [first], 2_000)).rejects.toMatchObject({
    kind: 'precondition',
    message: expect.stringMatching(/schema version 2 \(more\).*knows only 1.*start the newer version again/),
  });
});

it('refuses a migration that was changed after it was applied', async () => {
  const { tx } = newDatabase();
  await migrate(tx, [first], 1_000);
  await expect(migrate(tx, [{ ...first, checksum: 'other' }, second], 2_000)).rejects.toMatchObject({
    kind: 'precondition',
    message: expect.stringContaining('migration 1 (initial) is not the one'),
  });
});
