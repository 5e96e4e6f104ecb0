import type { EventDraft } from '#src/domain/audit-event.ts';
import { type Budget, spendAttempt } from '#src/domain/failure-budget.ts';
import type { AttemptStore, SpendAttempt } from '#src/ports/attempt-store.ts';
import { readBudget, restoreBudget, writeBudget } from './budget-rows.ts';
import { readerOf, type SqlExecutor } from './executor.ts';
import { attemptRepeatOf, storeAttempt } from './request-claims.ts';

export class SqlAttemptStore implements AttemptStore {
  readonly #sql: SqlExecutor;

  constructor(sql: SqlExecutor) {
    this.#sql = sql;
  }

  spend(command: SpendAttempt): ReturnType<AttemptStore['spend']> {
    const { realm, subject, limits, now, request } = command;
    return this.#sql.unit(async (tx) => {
      await tx.alone(realm, subject);
      const repeat = await attemptRepeatOf(tx, request, now);
      if (repeat) return repeat;
      const spend = spendAttempt(await readBudget(tx, realm, subject), limits, now);
      if (spend.outcome === 'locked') return { outcome: 'locked', until: spend.until, hard: spend.hard };
      await writeBudget(tx, realm, subject, spend.budget);
      await storeAttempt(tx, request, now);
      const { attemptsLeft, locks, budget } = spend;
      return { outcome: 'spent', attemptsLeft, locks, lockedUntil: budget.lockedUntil };
    });
  }

  read(realm: string, subject: string): Promise<Budget> {
    return readBudget(readerOf(this.#sql), realm, subject);
  }

  unlock(realm: string, subject: string, events: readonly EventDraft[]): Promise<{ readonly wasLocked: boolean }> {
    return this.#sql.unit(async (tx) => {
      await tx.alone(realm, subject);
      const budget = await readBudget(tx, realm, subject);
      if (budget.consecutive === 0 && !budget.hardLocked) return { wasLocked: false };
      await restoreBudget(tx, realm, subject);
      tx.record(...events);
      // The events carry the instant of the act; without one a lock counts even if it has run out.
      const now = events[0]?.at ?? 0;
      return { wasLocked: budget.hardLocked || budget.lockedUntil > now };
    });
  }
}
