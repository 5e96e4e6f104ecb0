import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import type { SqlValue, Tx } from '#src/adapters/sql/executor.ts';
import { migrate } from '#src/adapters/sql/migrate.ts';
import { postgresMigrations, sqliteMigrations } from '#src/gen/sql/migrations.js';
import { startPostgres } from '../../scripts/servers/postgres.ts';
import { plainSql } from '../support/postgres-sql.ts';

type Statements = Pick<Tx, 'all' | 'run'>;

function sqlite(): Statements {
  const db = new Database(':memory:');
  const bind = (params: readonly SqlValue[]) => Object.fromEntries(params.map((value, index) => [index + 1, value]));
  return {
    all: (sql, ...params) => db.prepare<object, Record<string, SqlValue>>(sql).all(bind(params)),
    run: (sql, ...params) => db.prepare(sql).run(bind(params)).changes,
  };
}

/** What a sidecar of release 0002 runs with each enrolment that is begun, as it stood there. */
const CONSENT_OF_0002 = `INSERT INTO consents (id, realm, subject, method, text_version, language, granted_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7)`;
const FACTOR_OF_0002 = `INSERT INTO factors (
       id, realm, subject, method, display_name, state, sealed_secret, last_step, drift_steps, replaces, created_at,
       expires_at, confirmed_at, last_used_at
     ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`;

async function beginTwice(tx: Statements): Promise<void> {
  for (const n of ['1', '2']) {
    const secret = Buffer.from(n);
    const factor = [`f${n}`, 'r', 'ann', 'totp', '', 'ACTIVE', secret, -1, 0, '', 1, 2, 1, null] as const;
    expect(await tx.run(FACTOR_OF_0002, ...factor)).toBe(1);
    expect(await tx.run(CONSENT_OF_0002, `c${n}`, 'r', 'ann', 'totp', 'v1', 'en', Number(n))).toBe(1);
  }
}

describe('a sidecar of the release before, during a rolling upgrade', () => {
  it('begins enrolment after enrolment on the new schema of SQLite', async () => {
    const tx = sqlite();
    await migrate(tx, sqliteMigrations, 1_000);
    await beginTwice(tx);
  });

  it('begins enrolment after enrolment on the new schema of PostgreSQL', async () => {
    await using server = await startPostgres();
    await server.createRole('owner');
    await using sql = await plainSql(await server.createDatabase('upgraded', 'owner'));
    await sql.unit((tx) => migrate(tx, postgresMigrations, 1_000));
    await sql.unit(beginTwice);
  });
});
