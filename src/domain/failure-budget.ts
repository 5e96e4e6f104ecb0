import type { DurationMs, EpochMs } from './time.ts';

/** How many wrong proofs a person has before they are locked (NIST SP 800-63B section 5.2.2). */
export interface BudgetLimits {
  /** Attempts before the short lock. */
  readonly shortAttempts: number;
  /** How long the short lock lasts. */
  readonly shortLockMs: DurationMs;
  /** Consecutive attempts without a success before the hard stop, which only an operator lifts. */
  readonly hardAttempts: number;
}

/** The budget of one person, over all methods, calls, challenges, sessions and sidecars. */
export interface Budget {
  /** Attempts since the last success or the last short lock ran out. */
  readonly recent: number;
  /** Attempts since the last success. */
  readonly consecutive: number;
  /** 0 when not locked. */
  readonly lockedUntil: EpochMs;
  readonly hardLocked: boolean;
}

export const FRESH_BUDGET: Budget = { recent: 0, consecutive: 0, lockedUntil: 0, hardLocked: false };

export type Spend =
  | {
      readonly outcome: 'spent';
      readonly budget: Budget;
      readonly attemptsLeft: number;
      readonly locks: 'no' | 'short' | 'hard';
    }
  | { readonly outcome: 'locked'; readonly budget: Budget; readonly until: EpochMs; readonly hard: boolean };

/**
 * Spends one attempt before the proof is looked at. The attempt that uses up the budget sets the lock at once, so
 * parallel guesses cannot slip by; a success takes everything back. A crash in between only makes it stricter.
 */
export function spendAttempt(budget: Budget, limits: BudgetLimits, now: EpochMs): Spend {
  if (budget.hardLocked) return { outcome: 'locked', budget, until: Number.MAX_SAFE_INTEGER, hard: true };
  if (now < budget.lockedUntil) return { outcome: 'locked', budget, until: budget.lockedUntil, hard: false };
  const recent = (budget.lockedUntil > 0 ? 0 : budget.recent) + 1;
  const consecutive = budget.consecutive + 1;
  const hard = consecutive >= limits.hardAttempts;
  const short = recent >= limits.shortAttempts;
  const next: Budget = {
    recent,
    consecutive,
    lockedUntil: short || hard ? now + limits.shortLockMs : 0,
    hardLocked: hard,
  };
  const attemptsLeft = Math.max(0, Math.min(limits.shortAttempts - recent, limits.hardAttempts - consecutive));
  return { outcome: 'spent', budget: next, attemptsLeft, locks: hard ? 'hard' : short ? 'short' : 'no' };
}

/** How many attempts the person has at `now`. */
export function attemptsLeft(budget: Budget, limits: BudgetLimits, now: EpochMs): number {
  if (isLocked(budget, now)) return 0;
  const recent = budget.lockedUntil > 0 ? 0 : budget.recent;
  return Math.max(0, Math.min(limits.shortAttempts - recent, limits.hardAttempts - budget.consecutive));
}

/**
 * Until then lasts what the person's own word stopped: no success takes it back, only an operator. The end of the year
 * 9999, which every form of an instant can say.
 */
export const WITHOUT_END: EpochMs = 253_402_300_799_999;

/** The budget of a person who says that somebody else is at work. */
export function stopped(budget: Budget): Budget {
  return { ...budget, lockedUntil: WITHOUT_END, hardLocked: true };
}

export function isStopped(budget: Budget): boolean {
  return budget.hardLocked && budget.lockedUntil === WITHOUT_END;
}

/** Whether the person is locked at `now`, for a while or for good. */
export function isLocked(budget: Budget, now: EpochMs): boolean {
  return budget.hardLocked || now < budget.lockedUntil;
}

/** When the lock that holds at `now` was set; the attempt that used up the budget was spent then. */
export function lockedSince(budget: Budget, limits: BudgetLimits): EpochMs {
  return budget.lockedUntil - limits.shortLockMs;
}
