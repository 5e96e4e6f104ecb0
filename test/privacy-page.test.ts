import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import SqliteDatabase from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { createSchema } from '#src/adapters/audit/schema.ts';
import { BY_KEY } from '#src/config/keys.ts';
import { MemorySql } from './support/memory-sql.ts';
import { HOME, privacyWorld, settle } from './support/privacy-world.ts';
import { person } from './support/store-samples.ts';

const page = readFileSync(new URL('../docs/privacy.md', import.meta.url), 'utf8');
const golden = readFileSync(new URL('migrations/postgres.golden.sql', import.meta.url), 'utf8');

const PROTECTIONS = ['open', 'sealed', 'digest', "person's key"];

interface Kept {
  readonly table: string;
  readonly columns: readonly string[];
  readonly protection: string;
}

/** The rows of the tables under "What is kept". */
const kept: readonly Kept[] = page
  .slice(page.indexOf('## What is kept'))
  .split('\n')
  .flatMap((line) => {
    const [, table, columns, , protection] = /^\| `([a-z_]+)` \| (.+?) \| (.*?) \| (.+?) \|/.exec(line) ?? [];
    if (!table || !columns || !protection) return [];
    return [{ table, columns: [...columns.matchAll(/`([a-z_]+)`/g)].map(([, name = '']) => name), protection }];
  });

const documented = (table: string) =>
  kept
    .filter((row) => row.table === table)
    .flatMap(({ columns }) => columns)
    .sort();

/** Tables and their columns of an SQLite file. */
function sqliteSchema(db: SqliteDatabase.Database): ReadonlyMap<string, readonly string[]> {
  const tables = db
    .prepare<[], { name: string }>(`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`)
    .all();
  return new Map(
    tables.map(({ name }) => [
      name,
      db
        .prepare<[], { name: string }>(`PRAGMA table_xinfo(${name})`)
        .all()
        .map((column) => column.name)
        .sort(),
    ]),
  );
}

/** The same of PostgreSQL, from the schema that test/migrations holds equal to a real one; partitions are their parent. */
function postgresSchema(): ReadonlyMap<string, readonly string[]> {
  const tables = [...golden.matchAll(/^CREATE TABLE ([a-z_]+) \(\n([\s\S]*?)\n\)/gm)];
  return new Map(
    tables
      .filter(([, name = '']) => !name.endsWith('_default'))
      .map(([, name = '', body = '']) => [
        name,
        [...body.matchAll(/^ {2}([a-z_]+) (?!KEY\b)/gm)].map(([, column = '']) => column).sort(),
      ]),
  );
}

const state = new MemorySql([]);
await state.read('SELECT 1');

describe('the table of what is kept', () => {
  const audit = new SqliteDatabase(':memory:');
  createSchema(audit);
  const schemas = [
    ['state.db', sqliteSchema(state.db)],
    ['audit.db', sqliteSchema(audit)],
    ['PostgreSQL', postgresSchema()],
  ] as const;

  it.each(schemas)('has every column of %s, each once, and none that does not exist', (_name, schema) => {
    expect(schema.size).toBeGreaterThan(4);
    for (const [table, columns] of schema) expect(documented(table), table).toEqual([...columns]);
  });

  it('has no table that does not exist, and says of each column how it is protected', () => {
    const all = new Set(schemas.flatMap(([, schema]) => [...schema.keys()]));
    expect([...new Set(kept.map(({ table }) => table))].filter((table) => !all.has(table))).toEqual([]);
    for (const { table, protection } of kept) expect(PROTECTIONS, table).toContain(protection);
  });

  it('says of sealed columns that they are, by name', () => {
    for (const { table, columns, protection } of kept)
      for (const column of columns)
        if (/^sealed/.test(column)) expect([table, column, protection]).toEqual([table, column, 'sealed']);
  });
});

describe('the stores of somebody about whom everything is kept', () => {
  it('have names, numbers, addresses and agents in the clear only where the table says so', async () => {
    const world = await privacyWorld();
    const { subject } = await settle(world);
    await world.consents.record(
      { roles: new Set(['application']), name: 'http', correlationId: 'c' },
      { realm: 'main', subject, method: 'sms', textVersion: '1', language: 'en', client: HOME, requestId: person() },
    );
    await world.stores[Symbol.asyncDispose]();
    const named = new Set<string>();
    for (const file of ['state.db', 'audit.db']) {
      const db = new SqliteDatabase(join(world.directory, file), { readonly: true });
      for (const [table, columns] of sqliteSchema(db)) {
        for (const column of columns) {
          const values = db.prepare<[], { value: unknown }>(`SELECT "${column}" AS value FROM ${table}`).all();
          const text = Buffer.concat(
            values.map(({ value }) => Buffer.from(value instanceof Uint8Array ? value : `${value}`)),
          );
          const protection = kept.find((row) => row.table === table && row.columns.includes(column))?.protection;
          for (const secret of ['+14155550199', HOME.ipAddress, HOME.userAgent, HOME.deviceId])
            expect(text.includes(secret), `${secret} in ${table}.${column}`).toBe(false);
          if (text.includes(subject)) named.add(`${table}.${column} ${protection}`);
        }
      }
      db.close();
    }
    expect([...named].sort()).toEqual([
      'attempts.subject open',
      'challenges.subject open',
      'consents.subject open',
      'factors.subject open',
      'issued_codes.subject open',
      'session_changes.subject open',
      'sessions.subject open',
      'subjects.subject open',
      'trusted_devices.subject open',
    ]);
  });
});

describe('the page', () => {
  it('has the defaults of the settings it names', () => {
    const rows = [...page.matchAll(/^\| `([a-z_.]+)` \| [^|]+ \| (\w+) \|$/gm)];
    expect(rows.length).toBeGreaterThan(4);
    for (const [, key = '', fallback] of rows) expect([key, BY_KEY.get(key)?.note.fallback]).toEqual([key, fallback]);
    const settings = [...page.matchAll(/`((?:privacy|audit|trusted_devices|twilio|enrollment)\.[a-z_]+)`/g)];
    for (const [, key = ''] of settings) if (!key.endsWith('.db')) expect(BY_KEY.has(key), key).toBe(true);
  });
});
