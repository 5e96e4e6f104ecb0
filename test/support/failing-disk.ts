import SqliteDatabase, { type Database } from 'better-sqlite3';
import { type Files, nodeFiles } from '#src/adapters/audit/anchor.ts';

/** Counts the calls that reach the disk and makes some of them fail. */
export class FailingDisk {
  calls = 0;
  #first = Number.POSITIVE_INFINITY;
  #last = Number.POSITIVE_INFINITY;
  #code = '';

  /** From now on the calls numbered `first` to `first + count - 1` fail. */
  arm(first: number, count: number, code: string): void {
    this.calls = 0;
    this.#first = first;
    this.#last = first + count - 1;
    this.#code = code;
  }

  #pass(): void {
    this.calls += 1;
    if (this.calls >= this.#first && this.calls <= this.#last)
      throw new SqliteDatabase.SqliteError('injected', this.#code);
  }

  readonly openDatabase = (path: string, settings: SqliteDatabase.Options): Database => {
    this.#pass();
    const db = new SqliteDatabase(path, settings);
    const prepare = db.prepare.bind(db);
    const guarded = (sql: string) => {
      const statement = prepare(sql);
      for (const name of ['run', 'get', 'all'] as const) {
        const real = statement[name].bind(statement);
        const call = (...parameters: unknown[]) => {
          this.#pass();
          return real(...parameters);
        };
        Object.defineProperty(statement, name, { value: call });
      }
      return statement;
    };
    Object.defineProperty(db, 'prepare', { value: guarded });
    return db;
  };

  readonly files: Files = {
    openSync: ((...all: Parameters<Files['openSync']>) =>
      this.#file(() => nodeFiles.openSync(...all))) as Files['openSync'],
    writeSync: ((file: number, text: string) =>
      this.#file(() => nodeFiles.writeSync(file, text))) as Files['writeSync'],
    fsyncSync: (file) => this.#file(() => nodeFiles.fsyncSync(file)),
    closeSync: (file) => this.#file(() => nodeFiles.closeSync(file)),
    renameSync: (from, to) => this.#file(() => nodeFiles.renameSync(from, to)),
  };

  #file<T>(call: () => T): T {
    this.#pass();
    return call();
  }
}
