import type { EventDraft } from '#src/domain/audit-event.ts';
import type { Caller } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';
import type { Trail } from '../trail.ts';
import { type ChallengeEndings, eventFields } from './challenge-endings.ts';
import type { ProofVerdict } from './proof.ts';

export type Denied = Extract<ProofVerdict, { readonly outcome: 'denied' }>;

export interface DenialDependencies {
  readonly endings: ChallengeEndings;
  readonly factors: Pick<FactorStore, 'freeze'>;
  readonly trail: Trail;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** What follows when a person says no, or types a number that was not shown. */
export class Denials {
  readonly #deps: DenialDependencies;

  constructor(deps: DenialDependencies) {
    this.#deps = deps;
  }

  /**
   * Ends the challenge; `ended` is false where something else had ended it before. "This was not me" freezes all push
   * factors of the person first: should the end fail, nothing can be approved any more, and the same can be said again.
   */
  async deny(
    { caller, challenge }: { readonly caller: Caller; readonly challenge: Challenge },
    { reason, method, factorId }: Denied,
    also: readonly EventDraft[],
  ): Promise<{ readonly challenge: Challenge; readonly ended: boolean }> {
    const { endings, metrics, trail } = this.#deps;
    metrics.proof(method, 'denied');
    if (reason === 'NOT_ME') await this.#freeze(caller, challenge, factorId);
    const result = await endings.end(challenge, 'DENIED', caller, { also, reason, fields: { method, factorId } });
    if (!result.ended) for (const event of also) trail.refused(event);
    return result;
  }

  async #freeze(caller: Caller, challenge: Challenge, factorId: string): Promise<void> {
    const { factors, trail, log } = this.#deps;
    const { realm, subject } = challenge;
    const event = trail.draft('factor.frozen', caller, {
      ...eventFields(challenge),
      method: 'push',
      factorId,
      outcome: 'SUCCESS',
      reason: 'NOT_ME',
    });
    await factors.freeze({ realm, subject, methods: ['push'], reason: 'NOT_ME', events: [event] });
    log.error('a person said that a push was not theirs: somebody may have their first factor; push is frozen', {
      challengeId: challenge.id,
    });
  }
}
