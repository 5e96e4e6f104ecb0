import Database from 'better-sqlite3';
import type { Row, SqlExecutor, SqlValue, Tx } from '#src/adapters/sql/executor.ts';
import { migrate } from '#src/adapters/sql/migrate.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { sqliteMigrations } from '#src/gen/sql/migrations.js';

/** The SQL stores without disk and threads: SQLite in memory, units one after the other, events in a list. */
export class MemorySql implements SqlExecutor {
  readonly db = new Database(':memory:');
  readonly #events: EventDraft[];
  #tail: Promise<unknown> = Promise.resolve();

  constructor(events: EventDraft[]) {
    this.#events = events;
    this.#tail = this.unit((tx) => migrate(tx, sqliteMigrations, 0));
  }

  unit<T>(work: (tx: Tx) => Promise<T> | T): Promise<T> {
    const done = this.#tail.then(() => this.#run(work));
    this.#tail = done.catch(() => {});
    return done;
  }

  read(sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]> {
    return this.unit((tx) => tx.all(sql, ...params));
  }

  async #run<T>(work: (tx: Tx) => Promise<T> | T): Promise<T> {
    const recorded: EventDraft[] = [];
    this.db.exec('BEGIN');
    try {
      const result = await work({
        all: (sql, ...params) => this.db.prepare<unknown[], Row>(sql).all(bind(params)),
        run: (sql, ...params) => this.db.prepare(sql).run(bind(params)).changes,
        alone: () => {},
        record: (...drafts) => void recorded.push(...drafts),
      });
      this.db.exec('COMMIT');
      this.#events.push(...recorded);
      return result;
    } catch (error) {
      this.db.exec('ROLLBACK');
      throw error;
    }
  }
}

/** To better-sqlite3 `$1` is a parameter named 1. */
function bind(params: readonly SqlValue[]): Record<string, SqlValue> {
  return Object.fromEntries(params.map((value, index) => [String(index + 1), value]));
}
