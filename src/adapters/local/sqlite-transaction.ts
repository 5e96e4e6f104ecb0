import type { Row, SqlValue } from '#src/adapters/sql/executor.ts';
import type { SqliteConnection } from './sqlite-connection.ts';

/** SQLite ended the transaction by itself, so the units before this one are lost as well. */
export class TransactionLost extends Error {
  override readonly name = 'TransactionLost';
}

/**
 * The one transaction of a connection and the savepoint of the unit in it. Both begin with the first statement that
 * writes, so that a batch of reads costs no transaction at all.
 */
export class SqliteTransaction {
  readonly #connection: SqliteConnection;
  #open = false;
  #inUnit = false;
  #saved = false;

  constructor(connection: SqliteConnection) {
    this.#connection = connection;
  }

  /** Whether anything was written since the last commit or rollback. */
  get hasWrites(): boolean {
    return this.#open;
  }

  all(sql: string, ...params: readonly SqlValue[]): readonly Row[] {
    this.#begin(sql);
    return this.#connection.all(sql, params);
  }

  run(sql: string, ...params: readonly SqlValue[]): number {
    this.#begin(sql);
    return this.#connection.run(sql, params);
  }

  beginUnit(): void {
    this.#inUnit = true;
  }

  /** Answers whether the unit wrote anything. */
  keepUnit(): boolean {
    const wrote = this.#saved;
    this.#endUnit(['RELEASE unit']);
    return wrote;
  }

  /** Undoes this unit and nothing else. Throws TransactionLost if there is nothing left to undo it in. */
  dropUnit(): void {
    this.#endUnit(['ROLLBACK TO unit', 'RELEASE unit']);
  }

  commit(): void {
    if (!this.#open) return;
    if (!this.#connection.inTransaction) throw new TransactionLost('the transaction was gone before its commit');
    this.#connection.run('COMMIT');
    this.#open = false;
  }

  /** After a commit: see SqliteConnection. */
  emptyLog(): void {
    this.#connection.emptyLog();
  }

  rollback(): void {
    this.#inUnit = false;
    this.#saved = false;
    if (this.#open && this.#connection.inTransaction) this.#connection.run('ROLLBACK');
    this.#open = false;
  }

  #begin(sql: string): void {
    if ((this.#open && this.#saved === this.#inUnit) || this.#connection.isReadOnly(sql)) return;
    if (!this.#open) {
      this.#connection.run('BEGIN IMMEDIATE');
      this.#open = true;
    }
    if (this.#inUnit && !this.#saved) {
      this.#connection.run('SAVEPOINT unit');
      this.#saved = true;
    }
  }

  #endUnit(statements: readonly string[]): void {
    const saved = this.#saved;
    this.#inUnit = false;
    this.#saved = false;
    if (this.#open && !this.#connection.inTransaction) throw new TransactionLost('the transaction was rolled back');
    if (saved) for (const statement of statements) this.#connection.run(statement);
  }
}
