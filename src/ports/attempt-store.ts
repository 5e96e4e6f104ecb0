import type { EventDraft } from '../domain/audit-event.ts';
import type { Budget, BudgetLimits } from '../domain/failure-budget.ts';
import type { EpochMs } from '../domain/time.ts';
import type { ReceiptBurn, RequestClaim } from './intents.ts';

export interface SpendAttempt {
  readonly realm: string;
  readonly subject: string;
  readonly limits: BudgetLimits;
  readonly now: EpochMs;
  /**
   * True for proofs that nobody can guess, such as signatures: nothing is counted and no lock is in the way (OWASP ASVS
   * 5.0, 6.1.1) but the person's own word; the request is noted all the same.
   */
  readonly free?: boolean;
  /** Noted as refused until the approval says otherwise, so a repeat never spends again. */
  readonly request?: RequestClaim;
}

/** The failure budget: one per person. */
export interface AttemptStore {
  /** Counts one attempt before the proof is looked at (domain/failure-budget.ts). */
  spend(command: SpendAttempt): Promise<
    | {
        readonly outcome: 'spent';
        readonly attemptsLeft: number;
        readonly locks: 'no' | 'short' | 'hard';
        readonly lockedUntil: EpochMs;
      }
    | { readonly outcome: 'locked'; readonly until: EpochMs; readonly hard: boolean }
    | { readonly outcome: 'repeat'; readonly approved: boolean; readonly seed: Uint8Array }
    | { readonly outcome: 'reused' }
  >;
  read(realm: string, subject: string): Promise<Budget>;
  /**
   * The person's own word that somebody else is at work: a hard stop that no success lifts, only an operator. In the same
   * step pending enrolments are dropped, a temporary pass is void, open challenges are cancelled, so that no proof that was
   * looked at before is approved after, and receipts that were approved are spent. `spent`: the word was given before,
   * or is about somebody who was erased since; nothing changed.
   */
  lock(command: {
    readonly realm: string;
    readonly subject: string;
    /** Used up in the same step. */
    readonly word: ReceiptBurn;
    /** When what it is about happened, and the mark of the person (domain/erasure.ts). */
    readonly about?: { readonly at: EpochMs; readonly mark: string };
    readonly now: EpochMs;
    /** Recorded with `locked`. */
    readonly events: readonly EventDraft[];
  }): Promise<{ readonly outcome: 'locked' | 'spent' }>;
  /** An operator's act; `events` are recorded when the person was locked or had failures. */
  unlock(realm: string, subject: string, events: readonly EventDraft[]): Promise<{ readonly wasLocked: boolean }>;
}
