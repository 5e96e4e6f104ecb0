import type { EventPosition } from '#src/ports/audit.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { type AuditMark, readAuditPosition, writeAuditPosition } from './audit-position.ts';
import type { SqliteTransaction } from './sqlite-transaction.ts';

/** What the next start has to know of the trail, in the state database. */
export class TrailMark {
  readonly #transaction: SqliteTransaction;
  readonly #log: Log;
  #saved: AuditMark | undefined;

  constructor(transaction: SqliteTransaction, log: Log) {
    this.#transaction = transaction;
    this.#log = log;
    this.#saved = readAuditPosition(transaction);
  }

  get saved(): AuditMark | undefined {
    return this.#saved;
  }

  /** Rows after this one would have to be read at the next start. */
  get keepAfter(): EventPosition {
    const { position = 0, open = [] } = this.#saved ?? {};
    return Math.min(position, ...open.map(([first]) => first - 1));
  }

  /** Durable when it returns, unless the log says otherwise; then the next one may be. */
  save(mark: AuditMark): void {
    if (JSON.stringify(mark) === JSON.stringify(this.#saved)) return;
    try {
      writeAuditPosition(this.#transaction, mark);
      this.#transaction.commit();
      this.#saved = mark;
    } catch (error) {
      this.#transaction.rollback();
      this.#log.warn('the audit position could not be saved', { error: String(error) });
    }
  }
}
