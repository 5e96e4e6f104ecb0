import type { Row, SqlValue, Tx } from '#src/adapters/sql/executor.ts';
import { optionalText, text } from '#src/adapters/sql/row.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import type { DurationMs } from '#src/domain/time.ts';
import { personLock } from './person-lock.ts';
import type { PostgresConnection, Reply } from './postgres-connection.ts';
import type { OpenCommit } from './unit-outcome.ts';

export interface UnitTimes {
  /** Longest statement. */
  readonly statementMs: DurationMs;
  /** Longest wait for a lock. */
  readonly lockMs: DurationMs;
  /** How long the server keeps locks for somebody who says nothing any more. */
  readonly idleMs: DurationMs;
}

/** As the stores write what changes nothing. */
const READS = 'SELECT';

/**
 * One transaction, begun with its first statement. What it needs is set for it alone: the session behind a pooler belongs
 * to nobody.
 */
export class OpenUnit implements Tx {
  readonly events: EventDraft[] = [];
  readonly #connection: PostgresConnection;
  readonly #times: UnitTimes;
  #begun = false;
  /** Undefined again once it is known to have taken place. */
  #beginning: Promise<void> | undefined;
  #person: string | undefined;

  constructor(connection: PostgresConnection, times: UnitTimes) {
    this.#connection = connection;
    this.#times = times;
  }

  get begun(): boolean {
    return this.#begun;
  }

  /** Resolves once the transaction, if there is one, has begun with its lock; rejects if that failed. */
  async hasBegun(): Promise<void> {
    await this.#beginning;
    this.#beginning = undefined;
  }

  async all(sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]> {
    return (await this.#ask(sql, params)).rows;
  }

  async run(sql: string, ...params: readonly SqlValue[]): Promise<number> {
    return (await this.#ask(sql, params)).count;
  }

  async alone(realm: string, subject: string): Promise<void> {
    const lock = personLock(realm, subject);
    if (this.#person === lock) return;
    if (this.#person !== undefined) throw new Error('a unit can be alone with one person only');
    this.#person = lock;
    const statement = `SELECT pg_advisory_xact_lock(${lock})`;
    if (this.#begun) await this.#connection.script(statement);
    else this.#begin(statement);
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

  async #ask(sql: string, params: readonly SqlValue[]): Promise<Reply> {
    if (!this.#begun) this.#begin('');
    if (!this.#beginning) return this.#connection.query(sql, params);
    if (!sql.startsWith(READS)) {
      await this.hasBegun();
      return this.#connection.query(sql, params);
    }
    // One round trip for both. Were there no transaction after all, what only reads has done nothing.
    const [begun, reply] = await Promise.allSettled([this.hasBegun(), this.#connection.query(sql, params)]);
    if (begun.status === 'rejected') throw begun.reason;
    if (reply.status === 'rejected') throw reply.reason;
    return reply.value;
  }

  #begin(firstStatement: string): void {
    this.#begun = true;
    const { statementMs, lockMs, idleMs } = this.#times;
    this.#beginning = this.#connection.script(
      `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL statement_timeout = ${statementMs};
SET LOCAL lock_timeout = ${lockMs};
SET LOCAL idle_in_transaction_session_timeout = ${idleMs};
${firstStatement}`,
    );
    // Whoever waits for it hears of it.
    this.#beginning.catch(() => {});
  }
}
