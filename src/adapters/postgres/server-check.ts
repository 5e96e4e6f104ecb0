import type { Row, SqlValue } from '#src/adapters/sql/executor.ts';
import { text, whole } from '#src/adapters/sql/row.ts';
import { Fault } from '#src/domain/faults.ts';

/** pg_current_xact_id and pg_xact_status, which tell how a commit ended whose reply was lost. */
const OLDEST_SERVER = 13;

interface Statements {
  all(sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]> | readonly Row[];
}

/**
 * Whether this server can be the one truth: a writer, not too old, in UTF-8, with a schema to be in. Throws
 * Fault(precondition) with what to do. Answers settings that make it forget what it has acknowledged, for a warning.
 */
export async function checkServer(sql: Statements): Promise<readonly string[]> {
  const [row] = await sql.all(
    `SELECT current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding,
            pg_is_in_recovery()::int AS reader, current_schema() AS schema,
            current_setting('fsync') AS fsync, current_setting('full_page_writes') AS pages,
            current_setting('synchronous_commit') AS synchronous`,
  );
  if (!row) throw refusal('the server does not say what it is');
  const release = Math.floor(whole(row, 'version') / 10_000);
  if (release < OLDEST_SERVER) {
    throw refusal(`it is PostgreSQL ${release}, and ${OLDEST_SERVER} is the oldest that is supported: upgrade it`);
  }
  if (whole(row, 'reader') === 1) {
    throw refusal('it is a standby, which may lag behind what was revoked: name the endpoint of the writer in the URL');
  }
  if (text(row, 'encoding') !== 'UTF8') {
    throw refusal(
      `its encoding is ${text(row, 'encoding')}: make the database with ENCODING 'UTF8' TEMPLATE template0`,
    );
  }
  if (row['schema'] === null) {
    throw refusal(
      'the role may use no schema of its search_path: run sallyport migrate --grant-to for it, or correct ALTER ROLE … SET search_path',
    );
  }
  return (['fsync', 'pages', 'synchronous'] as const)
    .filter((name) => text(row, name) === 'off')
    .map((name) => FORGETS[name]);
}

const FORGETS = {
  fsync: 'fsync is off on the PostgreSQL server: a crash of its machine can bring back what was revoked',
  pages: 'full_page_writes is off on the PostgreSQL server: a crash of its machine can damage the database',
  synchronous:
    'synchronous_commit is off on the PostgreSQL server: a crash can take back the last commits, and with them what was revoked',
} as const;

function refusal(why: string): Fault {
  return new Fault('precondition', 'STORE_UNAVAILABLE', `the PostgreSQL server cannot be used: ${why}`);
}
