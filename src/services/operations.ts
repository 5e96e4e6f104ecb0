import type { Caller } from '../domain/caller.ts';
import type { AttemptStore } from '../ports/attempt-store.ts';
import type { Trail } from './trail.ts';

/** What operators do to people's records; every act is an event with the operator's reason. */
export class Operations {
  readonly #attempts: AttemptStore;
  readonly #trail: Trail;

  constructor(deps: { readonly attempts: AttemptStore; readonly trail: Trail }) {
    this.#attempts = deps.attempts;
    this.#trail = deps.trail;
  }

  /** Gives a person their attempts back, after the short lock or the hard stop. An unlock of somebody not locked is an event too. */
  async unlock(
    caller: Caller,
    realm: string,
    subject: string,
    reason: string,
  ): Promise<{ readonly wasLocked: boolean }> {
    const event = this.#trail.draft('subject.unlocked', caller, {
      realm,
      subject,
      outcome: 'SUCCESS',
      facts: { note: reason },
    });
    return this.#attempts.unlock(realm, subject, [event]);
  }
}
