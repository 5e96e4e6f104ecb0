import type { EventDraft } from '#src/domain/audit-event.ts';
import {
  attemptsLeft,
  type Budget,
  isStopped,
  spendAttempt,
  stopped,
  WITHOUT_END,
} from '#src/domain/failure-budget.ts';
import type { AttemptStore, SpendAttempt } from '#src/ports/attempt-store.ts';
import { deleteBudget, readBudget, writeBudget } from './budget-rows.ts';
import { cancelChallenges } from './challenge-rows.ts';
import { readerOf, type SqlExecutor } from './executor.ts';
import { deletePending } from './factor-rows.ts';
import { wasErased } from './person-rows.ts';
import { burnReceipt, burnReceiptsOf } from './receipt-burns.ts';
import { attemptRepeatOf, storeAttempt } from './request-claims.ts';
import { voidPass } from './temporary-passes.ts';

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
      const budget = await readBudget(tx, realm, subject);
      if (command.free) {
        if (isStopped(budget)) return { outcome: 'locked', until: WITHOUT_END, hard: true };
        await storeAttempt(tx, request, now);
        return { outcome: 'spent', attemptsLeft: attemptsLeft(budget, limits, now), locks: 'no', lockedUntil: 0 };
      }
      const spend = spendAttempt(budget, limits, now);
      if (spend.outcome === 'locked') return { outcome: 'locked', until: spend.until, hard: spend.hard };
      await writeBudget(tx, realm, subject, spend.budget);
      await storeAttempt(tx, request, now);
      const { locks } = spend;
      return { outcome: 'spent', attemptsLeft: spend.attemptsLeft, locks, lockedUntil: spend.budget.lockedUntil };
    });
  }

  read(realm: string, subject: string): Promise<Budget> {
    return readBudget(readerOf(this.#sql), realm, subject);
  }

  lock(command: Parameters<AttemptStore['lock']>[0]): ReturnType<AttemptStore['lock']> {
    const { realm, subject, word, about, now, events } = command;
    return this.#sql.unit(async (tx) => {
      await tx.alone(realm, subject);
      // It would write the name anew, and it is not about whoever has that name now.
      if (about && (await wasErased(tx, realm, about.mark, about.at))) return { outcome: 'spent' };
      if (!(await burnReceipt(tx, realm, word, now))) return { outcome: 'spent' };
      await writeBudget(tx, realm, subject, stopped(await readBudget(tx, realm, subject)));
      await deletePending(tx, realm, subject);
      await voidPass(tx, realm, subject);
      await cancelChallenges(tx, realm, subject, now);
      await burnReceiptsOf(tx, realm, subject, now);
      tx.record(...events);
      return { outcome: 'locked' };
    });
  }

  unlock(realm: string, subject: string, events: readonly EventDraft[]): Promise<{ readonly wasLocked: boolean }> {
    return this.#sql.unit(async (tx) => {
      await tx.alone(realm, subject);
      const budget = await readBudget(tx, realm, subject);
      if (budget.consecutive === 0 && !budget.hardLocked) return { wasLocked: false };
      await deleteBudget(tx, realm, subject);
      tx.record(...events);
      // The events carry the instant of the act; without one a lock counts even if it has run out.
      const now = events[0]?.at ?? 0;
      return { wasLocked: budget.hardLocked || budget.lockedUntil > now };
    });
  }
}
