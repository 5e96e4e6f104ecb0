import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { requireVersion, SqliteConnection } from '#src/adapters/local/sqlite-connection.ts';
import { newDirectory } from '../../support/local-stores.ts';

let directory: ReturnType<typeof newDirectory>;
beforeEach(() => {
  directory = newDirectory();
  mkdirSync(directory.path);
});
afterEach(() => directory[Symbol.dispose]());

it('opens in WAL mode with full synchronisation, for this user alone', () => {
  const path = join(directory.path, 'state.db');
  const connection = new SqliteConnection(path);
  const pragma = (name: string) => Object.values(connection.all(`PRAGMA ${name}`)[0] ?? {})[0];
  expect([pragma('journal_mode'), pragma('synchronous'), pragma('locking_mode')]).toEqual(['wal', 2, 'exclusive']);
  for (const file of [path, `${path}-wal`]) expect(statSync(file).mode & 0o777).toBe(0o600);
  connection.close();
});

it('binds $1 by its number, more than once in a statement', () => {
  const connection = new SqliteConnection(join(directory.path, 'state.db'));
  expect(connection.all('SELECT $2 AS b, $1 AS a, $1 AS again', [1, 'x'])).toEqual([{ b: 'x', a: 1, again: 1 }]);
  connection.close();
});

it('says what to do about a damaged file', () => {
  const path = join(directory.path, 'state.db');
  writeFileSync(path, 'not a database, but long enough to look like one'.repeat(100));
  expect(() => new SqliteConnection(path)).toThrow(/cannot open .*restore it from a backup/);
});

it('refuses a file that another connection holds', () => {
  const path = join(directory.path, 'state.db');
  const first = new SqliteConnection(path);
  expect(() => new SqliteConnection(path)).toThrow(/locked/);
  first.close();
});

it.each(['3.51.2', '3.50.99', '2.99.99', ''])('refuses SQLite %s', (version) => {
  expect(() => requireVersion(version)).toThrow(/3\.51\.3 is the oldest/);
});

it.each(['3.51.3', '3.52.0', '4.0.0'])('takes SQLite %s', (version) => {
  expect(() => requireVersion(version)).not.toThrow();
});
