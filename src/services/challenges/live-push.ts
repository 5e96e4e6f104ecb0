import type { Caller } from '#src/domain/caller.ts';
import { type Challenge, isTerminal } from '#src/domain/challenge.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
import { type ChallengeEndings, gone } from './challenge-endings.ts';

export interface LivePushDependencies {
  readonly challenges: Pick<ChallengeStore, 'openOf' | 'read'>;
  readonly endings: Pick<ChallengeEndings, 'end'>;
  readonly clock: Clock;
}

/**
 * One live push a person: a new one takes the place of those before. Of several that are chosen at the same moment, here
 * or on other sidecars, exactly one stays.
 */
export class LivePush {
  readonly #deps: LivePushDependencies;

  constructor(deps: LivePushDependencies) {
    this.#deps = deps;
  }

  /** Before push is noted as the chosen method of `own`: ends what was chosen before. */
  async makeRoom(caller: Caller, own: Challenge): Promise<void> {
    for (const rival of await this.#rivals(own)) await this.#supersede(caller, rival, own);
  }

  /**
   * After it was noted: whatever else is there now was chosen at the same moment. The youngest stays, whoever looks.
   * Answers `own` as it stands then.
   */
  async settle(caller: Caller, own: Challenge): Promise<Challenge> {
    const rivals = await this.#rivals(own);
    if (rivals.length === 0) return own;
    // Read after the rivals: one that was chosen after it had ended `own` is seen only together with that end.
    const current = await this.#deps.challenges.read(own.realm, own.id);
    if (!current) throw gone();
    if (isTerminal(current.state)) return current;
    const youngest = rivals.reduce((one, other) => (isYounger(other, one) ? other : one), own);
    if (youngest !== own) return this.#supersede(caller, own, youngest);
    for (const rival of rivals) await this.#supersede(caller, rival, own);
    return current;
  }

  async #rivals({ realm, subject, id }: Challenge): Promise<readonly Challenge[]> {
    const open = await this.#deps.challenges.openOf(realm, subject, 'push', this.#deps.clock.now());
    return open.filter((challenge) => challenge.id !== id);
  }

  async #supersede(caller: Caller, challenge: Challenge, by: Challenge): Promise<Challenge> {
    const facts = { superseded_by: by.id };
    return (await this.#deps.endings.end(challenge, 'SUPERSEDED', caller, { facts })).challenge;
  }
}

function isYounger(one: Challenge, other: Challenge): boolean {
  return one.createdAt === other.createdAt ? one.id > other.id : one.createdAt > other.createdAt;
}
