import type { EventDraft } from '#src/domain/audit-event.ts';
import type { Row, SqlExecutor, SqlValue, Tx } from './executor.ts';
import { type FormerNumber, formerNumberOf, insertNotices } from './notice-rows.ts';

/** Units whose events people have to be told of put the notices into the outbox, in the same step. */
export class NoticingExecutor implements SqlExecutor {
  readonly #inner: SqlExecutor;

  constructor(inner: SqlExecutor) {
    this.#inner = inner;
  }

  unit<T>(work: (tx: Tx) => Promise<T> | T): Promise<T> {
    return this.#inner.unit(async (tx) => {
      const events: EventDraft[] = [];
      let former: FormerNumber | undefined;
      const value = await work({
        all: (sql, ...params) => tx.all(sql, ...params),
        run: (sql, ...params) => tx.run(sql, ...params),
        alone: (realm, subject) => tx.alone(realm, subject),
        record: (...drafts) => {
          events.push(...drafts);
          tx.record(...drafts);
        },
        factorGone: (row) => {
          former ??= formerNumberOf(row);
        },
      });
      await insertNotices(tx, events, former);
      return value;
    });
  }

  read(sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]> {
    return this.#inner.read(sql, ...params);
  }
}
