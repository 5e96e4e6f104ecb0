import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { Fault } from '#src/domain/faults.ts';

/**
 * One process per data directory. The lock is the operating system's on `lock.db`, so it is gone with the process
 * however that ends; `lock.json` only says who holds it. The directory must be on a local file system: over a network
 * such locks, and SQLite's, cannot be relied on.
 */
export class DirectoryLock {
  readonly #db: Database.Database;

  /** Makes the directory with mode 0700 if there is none. Throws Fault(unavailable) when another process holds it. */
  constructor(directory: string, startedAt: number) {
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      closeSync(openSync(join(directory, 'lock.db'), 'a', 0o600));
      this.#db = new Database(join(directory, 'lock.db'), { timeout: 0 });
    } catch (error) {
      throw refusal(`the data directory ${directory} cannot be used: ${messageOf(error)}`, error);
    }
    const owner = join(directory, 'lock.json');
    try {
      // In rollback mode an exclusive transaction holds the lock for as long as it is open.
      this.#db.pragma('journal_mode = DELETE');
      this.#db.exec('BEGIN EXCLUSIVE');
      const holder = { pid: process.pid, host: hostname(), started: new Date(startedAt).toISOString() };
      writeFileSync(owner, `${JSON.stringify(holder)}\n`, { mode: 0o600 });
    } catch (error) {
      this.#db.close();
      const busy = error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY');
      if (!busy) throw refusal(`the data directory ${directory} cannot be locked: ${messageOf(error)}`, error);
      throw refusal(
        `the data directory ${directory} is in use by another sidecar (${holderOf(owner)}); stop that one or give this one a directory of its own`,
        error,
      );
    }
  }

  release(): void {
    this.#db.close();
  }
}

function holderOf(path: string): string {
  try {
    const holder: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof holder === 'object' && holder !== null && 'pid' in holder && 'host' in holder && 'started' in holder) {
      return `process ${holder.pid} on ${holder.host}, started ${holder.started}`;
    }
  } catch {
    // Only the message suffers.
  }
  return 'it left no name';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function refusal(message: string, cause: unknown): Fault {
  return new Fault('unavailable', 'STORE_UNAVAILABLE', message, { cause });
}
