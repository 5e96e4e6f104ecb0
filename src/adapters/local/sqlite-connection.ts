import { chmodSync, closeSync, openSync } from 'node:fs';
import Database from 'better-sqlite3';
import type { Row, SqlValue } from '#src/adapters/sql/executor.ts';
import { Fault } from '#src/domain/faults.ts';

/** Older ones can damage a WAL file when it is reset (fixed in 3.51.3). */
const OLDEST_SQLITE = [3, 51, 3] as const;

type Statement = Database.Statement<[Record<number, SqlValue>], Row>;

/**
 * One SQLite file in WAL mode with synchronous=FULL, held by this connection alone, with its statements prepared once.
 * SQL texts are constants of the stores, so their number is bounded.
 */
export class SqliteConnection {
  readonly #db: Database.Database;
  readonly #statements = new Map<string, Statement>();

  /** Makes the file with mode 0600 if there is none. Throws Fault when it cannot be used, saying what to do. */
  constructor(path: string) {
    try {
      closeSync(openSync(path, 'a', 0o600));
      chmodSync(path, 0o600);
      this.#db = new Database(path, { timeout: 1_000 });
      requireVersion(this.#db.prepare<[], { v: string }>('SELECT sqlite_version() AS v').get()?.v ?? '');
      // Exclusive before WAL: then the index of the WAL is in memory, and no other process can write to the file.
      for (const setting of [
        'locking_mode = EXCLUSIVE',
        'journal_mode = WAL',
        'synchronous = FULL',
        'foreign_keys = ON',
        'secure_delete = ON',
        'trusted_schema = OFF',
        'temp_store = MEMORY',
      ])
        this.#db.pragma(setting);
      // The exclusive lock is taken by the first transaction.
      this.#db.exec('BEGIN IMMEDIATE; COMMIT');
    } catch (error) {
      throw error instanceof Fault ? error : unusable(path, error);
    }
  }

  /** Whether a transaction is open; some errors (a full disk) end it by themselves. */
  get inTransaction(): boolean {
    return this.#db.inTransaction;
  }

  isReadOnly(sql: string): boolean {
    return this.#statement(sql).readonly;
  }

  all(sql: string, params: readonly SqlValue[] = []): readonly Row[] {
    return this.#statement(sql).all(bind(params));
  }

  /** How many rows were changed. */
  run(sql: string, params: readonly SqlValue[] = []): number {
    return this.#statement(sql).run(bind(params)).changes;
  }

  /**
   * Brings all of the write-ahead log into the file and empties it, so that nothing deleted is left there; what is deleted
   * in the file itself is overwritten (`secure_delete`). Not inside a transaction.
   */
  emptyLog(): void {
    this.#db.pragma('wal_checkpoint(TRUNCATE)');
  }

  close(): void {
    this.#statements.clear();
    this.#db.close();
  }

  #statement(sql: string): Statement {
    const known = this.#statements.get(sql);
    if (known) return known;
    const statement = this.#db.prepare<Record<number, SqlValue>, Row>(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}

/** To better-sqlite3 `$1` is a parameter named 1. */
function bind(params: readonly SqlValue[]): Record<number, SqlValue> {
  const named: Record<number, SqlValue> = {};
  for (const [index, value] of params.entries()) named[index + 1] = value;
  return named;
}

/** Throws Fault(precondition) for an SQLite that is too old. */
export function requireVersion(version: string): void {
  const parts = version.split('.').map(Number);
  for (const [index, oldest] of OLDEST_SQLITE.entries()) {
    const part = parts[index] ?? 0;
    if (part > oldest) return;
    if (part < oldest) {
      throw new Fault(
        'precondition',
        'STORE_UNAVAILABLE',
        `the bundled SQLite is ${version}; ${OLDEST_SQLITE.join('.')} is the oldest one without the WAL-reset bug`,
      );
    }
  }
}

/** Whether SQLite says that the file itself is damaged. */
function isDamage(error: unknown): boolean {
  return error instanceof Database.SqliteError && /^SQLITE_(CORRUPT|NOTADB)/.test(error.code);
}

function unusable(path: string, error: unknown): Fault {
  const hint = isDamage(error)
    ? 'it is damaged or not a database: restore it from a backup, or move it away to begin anew'
    : 'check that the directory exists, is writable and has free space';
  const detail = error instanceof Error ? error.message : String(error);
  return new Fault('unavailable', 'STORE_UNAVAILABLE', `cannot open ${path} (${detail}); ${hint}`, { cause: error });
}

/** Driver errors as faults; faults and errors of our own pass. */
export function storeFault(error: unknown): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  if (error.code.startsWith('SQLITE_CONSTRAINT')) {
    return new Fault('internal', 'INTERNAL', 'stored data would have broken a rule', { cause: error });
  }
  return new Fault('unavailable', 'STORE_UNAVAILABLE', 'the local store cannot be written or read right now', {
    retryAfterMs: 1_000,
    cause: error,
  });
}
