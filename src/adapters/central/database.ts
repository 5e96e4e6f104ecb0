import type { PostgresConnection } from '#src/adapters/postgres/postgres-connection.ts';
import { PostgresError } from '#src/adapters/postgres/postgres-errors.ts';
import type { PostgresPool } from '#src/adapters/postgres/postgres-pool.ts';
import type { Row, SqlValue } from '#src/adapters/sql/executor.ts';
import { Fault } from '#src/domain/faults.ts';
import type { DurationMs } from '#src/domain/time.ts';

/** One statement on the connection of a transaction; `$1` numbering. */
export type Statement = (sql: string, ...params: readonly SqlValue[]) => Promise<readonly Row[]>;

export interface TrailDatabaseOptions {
  readonly pool: Pick<PostgresPool, 'run'>;
  /** Which connections transactions take: `read` where units wait for what is transacted here. `unit` if absent. */
  readonly lane?: 'unit' | 'read';
}

/** Our own clock runs a little longer than that of the server, whose answer says more. */
const GRACE_MS = 500;
const TOO_LONG = Symbol('too long');

/**
 * The central database as the trail uses it: everything in short transactions that the server itself ends, and nothing in
 * the session, so a pooler in transaction mode may stand between. What takes the trail too long says nothing about the
 * database: only a server that does not answer counts as away.
 */
export class TrailDatabase {
  readonly #pool: Pick<PostgresPool, 'run'>;
  readonly #lane: 'unit' | 'read';

  constructor(options: TrailDatabaseOptions) {
    this.#pool = options.pool;
    this.#lane = options.lane ?? 'unit';
  }

  /**
   * One transaction, READ COMMITTED; each statement, and each wait for the next one, takes at most `timeoutMs`. A throw
   * undoes it. Rejects with Fault(unavailable); whether it was committed is then not always known.
   */
  async transaction<T>(timeoutMs: DurationMs, work: (run: Statement) => Promise<T>): Promise<T> {
    return await this.#within(this.#lane, timeoutMs, `BEGIN; ${limits(timeoutMs)}`, work);
  }

  /** One short statement, its own transaction, in one round trip. Rejects with Fault(unavailable). */
  async ask(timeoutMs: DurationMs, sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]> {
    const terms = { lane: 'read', timeoutMs, patienceMs: timeoutMs } as const;
    return await this.#reaching(() =>
      this.#pool.run(terms, async (connection) => (await connection.query(sql, params)).rows),
    );
  }

  /** One statement that changes nothing and may take its time. Rejects with Fault(unavailable). */
  async read(timeoutMs: DurationMs, sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]> {
    const begin = `BEGIN READ ONLY; ${limits(timeoutMs)}`;
    return await this.#within('read', timeoutMs, begin, (run) => run(sql, ...params));
  }

  async #within<T>(
    lane: 'read' | 'unit',
    timeoutMs: DurationMs,
    begin: string,
    work: (run: Statement) => Promise<T>,
  ): Promise<T> {
    const wholeMs = timeoutMs + GRACE_MS;
    const terms = { lane, timeoutMs: wholeMs, patienceMs: wholeMs };
    const outcome = await this.#reaching(() =>
      this.#pool.run<T | typeof TOO_LONG>(terms, async (connection) => {
        try {
          await connection.script(begin);
          const value = await work(async (sql, ...params) => (await connection.query(sql, params)).rows);
          const { command } = await connection.query('COMMIT');
          if (command !== 'COMMIT') throw new Error('the transaction had failed');
          return value;
        } catch (error) {
          await undo(connection);
          if (isTooLong(error)) return TOO_LONG;
          throw error;
        }
      }),
    );
    if (outcome === TOO_LONG) throw unavailable(`the central trail took longer than ${timeoutMs} ms`);
    return outcome;
  }

  async #reaching<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      if (cause instanceof Fault) throw cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw unavailable(`the central trail cannot be used: ${why}`, cause);
    }
  }
}

function limits(timeoutMs: DurationMs): string {
  const ms = Math.ceil(timeoutMs);
  return ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']
    .map((name) => `SET LOCAL ${name} = ${ms}`)
    .join('; ');
}

async function undo(connection: PostgresConnection): Promise<void> {
  if (!connection.usable || connection.idle) return;
  await connection.script('ROLLBACK').catch((error: unknown) => {
    connection.destroy(error instanceof Error ? error : new Error(String(error)));
  });
}

/** A statement or a lock that was not to be had in time. */
function isTooLong(error: unknown): boolean {
  return error instanceof PostgresError && (error.code === '57014' || error.code === '55P03');
}

function unavailable(message: string, cause?: unknown): Fault {
  const details = { retryAfterMs: 1_000, metadata: { dependency: 'postgres' }, ...(cause !== undefined && { cause }) };
  return new Fault('unavailable', 'STORE_UNAVAILABLE', message, details);
}
