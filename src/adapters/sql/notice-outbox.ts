import type { DurationMs, EpochMs } from '#src/domain/time.ts';
import type { NoticeOutbox } from '#src/ports/notices.ts';
import { inBatches, paramsOf } from './batches.ts';
import type { SqlExecutor } from './executor.ts';
import { noticeOf } from './notice-rows.ts';
import { text, whole } from './row.ts';

/** Nobody's name: whoever leases or settles notices comes after the others, as they are after the same rows. */
const OUTBOX = ['', 'outbox of notices'] as const;

export class SqlNoticeOutbox implements NoticeOutbox {
  readonly #sql: SqlExecutor;

  constructor(sql: SqlExecutor) {
    this.#sql = sql;
  }

  async lease(now: EpochMs, leaseMs: DurationMs, limit: number): ReturnType<NoticeOutbox['lease']> {
    // Looked at often, and there is seldom anything: then nobody has to come after anybody.
    const [due] = await this.#sql.read('SELECT id FROM notices WHERE due_at <= $1 LIMIT 1', now);
    if (!due) return [];
    return await this.#sql.unit(async (tx) => {
      await tx.alone(...OUTBOX);
      const rows = await tx.all(
        `UPDATE notices SET due_at = $2, tries = tries + 1
         WHERE due_at <= $1 AND id IN (
           SELECT id FROM notices WHERE due_at <= $1 ORDER BY due_at, noted_at, id LIMIT $3
         ) RETURNING *`,
        now,
        now + leaseMs,
        limit,
      );
      return rows
        .toSorted((a, b) => whole(a, 'noted_at') - whole(b, 'noted_at') || (text(a, 'id') < text(b, 'id') ? -1 : 1))
        .map((row) => ({ ...noticeOf(row), tries: whole(row, 'tries') }));
    });
  }

  done(ids: readonly string[]): Promise<number> {
    return this.#sql.unit(async (tx) => {
      await tx.alone(...OUTBOX);
      let done = 0;
      for (const batch of inBatches(ids)) {
        done += await tx.run(`DELETE FROM notices WHERE id IN (${paramsOf(batch.length, 1)})`, ...batch);
      }
      return done;
    });
  }

  retry(id: string, dueAt: EpochMs): Promise<void> {
    return this.#sql.unit(async (tx) => {
      await tx.alone(...OUTBOX);
      await tx.run('UPDATE notices SET due_at = $2 WHERE id = $1', id, dueAt);
    });
  }
}
