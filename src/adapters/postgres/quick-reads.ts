import type { Row, SqlExecutor, SqlValue, Tx } from '#src/adapters/sql/executor.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { PostgresExecutor } from './postgres-executor.ts';

/**
 * For what is asked on the way of every call of the application, and has another answer when the database has none:
 * single reads give up sooner. Units are the same.
 */
export class QuickReads implements SqlExecutor {
  readonly #executor: PostgresExecutor;
  readonly #timeoutMs: DurationMs;

  constructor(executor: PostgresExecutor, timeoutMs: DurationMs) {
    this.#executor = executor;
    this.#timeoutMs = timeoutMs;
  }

  unit<T>(work: (tx: Tx) => Promise<T> | T): Promise<T> {
    return this.#executor.unit(work);
  }

  read(sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]> {
    return this.#executor.readWithin(this.#timeoutMs, sql, ...params);
  }
}
