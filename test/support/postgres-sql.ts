import { Client } from 'pg';
import type { Row, SqlExecutor, Tx } from '#src/adapters/sql/executor.ts';

/** Units and reads over one plain connection, one after the other; for what is tested apart from the executor. */
export async function plainSql(url: string): Promise<SqlExecutor & AsyncDisposable> {
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  const tx: Tx = {
    all: async (sql, ...params) => (await client.query<Row>(sql, [...params])).rows,
    run: async (sql, ...params) => (await client.query(sql, [...params])).rowCount ?? 0,
    alone: async (realm, subject) =>
      void (await client.query('SELECT pg_advisory_xact_lock(hashtext($1), hashtext($2))', [realm, subject])),
    record: () => {},
  };
  return {
    read: (sql, ...params) => Promise.resolve(tx.all(sql, ...params)),
    unit: async (work) => {
      await client.query('BEGIN');
      try {
        const value = await work(tx);
        await client.query('COMMIT');
        return value;
      } catch (error) {
        await client.query('ROLLBACK');
        throw error;
      }
    },
    [Symbol.asyncDispose]: () => client.end(),
  };
}
