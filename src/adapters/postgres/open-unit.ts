import type { Row, SqlValue, Tx } from '#src/adapters/sql/executor.ts';
import { optionalText, text } from '#src/adapters/sql/row.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import type { DurationMs } from '#src/domain/time.ts';
import { personLock } from './person-lock.ts';
import type { PostgresConnection } from './postgres-connection.ts';
import type { OpenCommit } from './unit-outcome.ts';

export interface UnitTimes {
  /** Longest statement. */
  readonly statementMs: DurationMs;
  /** Longest wait for a lock. */
  readonly lockMs: DurationMs;
  /** How long the server keeps locks for somebody who says nothing any more. */
  readonly idleMs: DurationMs;
}

/**
 * One transaction, begun with its first statement. What it needs is set for it alone: the session behind a pooler belongs
 * to nobody.
 */
export class OpenUnit implements Tx {
  readonly events: EventDraft[] = [];
  readonly #connection: PostgresConnection;
  readonly #times: UnitTimes;
  #begun = false;
  #person: string | undefined;

  constructor(connection: PostgresConnection, times: UnitTimes) {
    this.#connection = connection;
    this.#times = times;
  }

  get begun(): boolean {
    return this.#begun;
  }

  async all(sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]> {
    if (!this.#begun) await this.#begin('');
    return (await this.#connection.query(sql, params)).rows;
  }

  async run(sql: string, ...params: readonly SqlValue[]): Promise<number> {
    if (!this.#begun) await this.#begin('');
    return (await this.#connection.query(sql, params)).count;
  }

  async alone(realm: string, subject: string): Promise<void> {
    const lock = personLock(realm, subject);
    if (this.#person === lock) return;
    if (this.#person !== undefined) throw new Error('a unit can be alone with one person only');
    this.#person = lock;
    const statement = `SELECT pg_advisory_xact_lock(${lock})`;
    if (this.#begun) await this.#connection.script(statement);
    else await this.#begin(statement);
  }

  record(...events: readonly EventDraft[]): void {
    this.events.push(...events);
  }

  /** What to ask by how the transaction ended. */
  async commitName(): Promise<OpenCommit> {
    const { rows } = await this.#connection.query(
      `SELECT pg_current_xact_id()::text AS id, ${this.#connection.timeline} AS timeline`,
    );
    const [row] = rows;
    if (!row) throw new Error('the server gave the transaction no id');
    const { serverRun } = this.#connection;
    return { transaction: text(row, 'id'), timeline: optionalText(row, 'timeline'), serverRun };
  }

  /** Whether it was. Otherwise the server has undone it. */
  async commit(): Promise<boolean> {
    return (await this.#connection.query('COMMIT')).command === 'COMMIT';
  }

  async rollback(): Promise<void> {
    if (!this.#begun || !this.#connection.usable) return;
    // If that fails, the connection is gone, and with it the transaction.
    await this.#connection.query('ROLLBACK').catch(() => {});
  }

  async #begin(firstStatement: string): Promise<void> {
    this.#begun = true;
    const { statementMs, lockMs, idleMs } = this.#times;
    await this.#connection.script(
      `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL statement_timeout = ${statementMs};
SET LOCAL lock_timeout = ${lockMs};
SET LOCAL idle_in_transaction_session_timeout = ${idleMs};
${firstStatement}`,
    );
  }
}
