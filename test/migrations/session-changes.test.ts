import Database from 'better-sqlite3';
import { expect, it } from 'vitest';
import type { SqlValue, Tx } from '#src/adapters/sql/executor.ts';
import { migrate } from '#src/adapters/sql/migrate.ts';
import { changesAfter, revocationsAfter } from '#src/adapters/sql/session-change-log.ts';
import { sqliteMigrations } from '#src/gen/sql/migrations.js';

it('carries the revocation log of a database of version 1 over, with its positions and what was trimmed', async () => {
  const db = new Database(':memory:');
  const bind = (params: readonly SqlValue[]) => Object.fromEntries(params.map((value, index) => [index + 1, value]));
  const tx: Pick<Tx, 'all' | 'run'> = {
    all: (sql, ...params) => db.prepare<object, Record<string, SqlValue>>(sql).all(bind(params)),
    run: (sql, ...params) => db.prepare(sql).run(bind(params)).changes,
  };
  await migrate(tx, sqliteMigrations.slice(0, 1), 1_000);
  db.exec(`
    INSERT INTO revocation_heads (realm, head, trimmed) VALUES ('main', 5, 3), ('empty', 2, 2);
    INSERT INTO revocations (realm, position, session_id, subject, reason, ended_at)
    VALUES ('main', 4, 'ses_a', 'ann', 'LOGOUT', 70), ('main', 5, 'ses_b', 'bob', 'HIJACK', 80);
  `);
  expect(await migrate(tx, sqliteMigrations, 2_000)).toBe(sqliteMigrations.length - 1);
  expect(await revocationsAfter(tx, 'main', 0, 10)).toEqual({
    oldest: 4,
    head: 5,
    entries: [
      { realm: 'main', position: 4, sessionId: 'ses_a', subject: 'ann', reason: 'LOGOUT', endedAt: 70 },
      { realm: 'main', position: 5, sessionId: 'ses_b', subject: 'bob', reason: 'HIJACK', endedAt: 80 },
    ],
  });
  expect(await changesAfter(tx, 'main', 4, 10)).toMatchObject({
    entries: [{ position: 5, sessionId: 'ses_b', endReason: 'HIJACK', at: 80 }],
  });
  expect(await changesAfter(tx, 'empty', 0, 10)).toEqual({ entries: [], oldest: 3, head: 2 });
  const end = db.prepare(
    `INSERT INTO session_changes (realm, position, session_id, subject, end_reason, changed_at)
     VALUES ('main', 6, 'ses_a', 'ann', 'REVOKED', 90)`,
  );
  expect(() => end.run()).toThrow(/UNIQUE/);
});
