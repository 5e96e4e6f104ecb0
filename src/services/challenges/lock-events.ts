import type { EventDraft } from '#src/domain/audit-event.ts';
import type { Caller } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import { isLocked } from '#src/domain/failure-budget.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { Trail } from '../trail.ts';
import { eventFields } from './challenge-endings.ts';

export type Spent = Extract<Awaited<ReturnType<AttemptStore['spend']>>, { readonly outcome: 'spent' }>;

export interface LockEventDependencies {
  readonly attempts: Pick<AttemptStore, 'read'>;
  readonly trail: Trail;
  readonly clock: Clock;
}

/** Word that an attempt has locked the person. */
export class LockEvents {
  readonly #deps: LockEventDependencies;

  constructor(deps: LockEventDependencies) {
    this.#deps = deps;
  }

  /** Undefined when it has not, or something has given the attempts back since. */
  async eventOf(caller: Caller, challenge: Challenge, { locks }: Spent): Promise<EventDraft | undefined> {
    if (locks === 'no') return undefined;
    const { attempts, trail, clock } = this.#deps;
    const budget = await attempts.read(challenge.realm, challenge.subject);
    if (!isLocked(budget, clock.now())) return undefined;
    return trail.draft(locks === 'hard' ? 'subject.hard_locked' : 'subject.locked', caller, {
      ...eventFields(challenge),
      outcome: 'REFUSED',
      reason: 'SUBJECT_LOCKED',
      facts: { consecutive: String(budget.consecutive), locked_until_ms: String(budget.lockedUntil) },
    });
  }
}
