import type { Caller } from '#src/domain/caller.ts';
import { type Challenge, type Delivery, isTerminal, stateAt } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { maskNumber } from '#src/domain/phone-number.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
import { eventFields } from '../challenges/challenge-endings.ts';
import type { Proof, ProofVerdict } from '../challenges/proof.ts';
import type { ChallengeMethod, MethodParts, PromptView } from './contract.ts';
import type { SmsCodes } from './sms-codes.ts';
import { SmsEnrollment } from './sms-enrollment.ts';
import type { SmsMessages } from './sms-messages.ts';
import type { SmsNumbers } from './sms-numbers.ts';

/** Takes word of deliveries, for the challenge, its watchers and the trail. */
export interface DeliveryNotes {
  note(challenge: Challenge, delivery: Delivery): Promise<unknown>;
}

export interface SmsMethodDependencies {
  readonly numbers: SmsNumbers;
  readonly codes: SmsCodes;
  readonly messages: SmsMessages;
  readonly deliveries: DeliveryNotes;
  readonly challenges: Pick<ChallengeStore, 'read'>;
  readonly clock: Clock;
}

const WRONG: ProofVerdict = { outcome: 'wrong' };
const NOBODY = { realm: '', id: '' };

/** Codes by SMS as an answer to challenges: only ever to the enrolled number. */
export class SmsMethod implements ChallengeMethod {
  readonly method = 'sms';
  readonly #deps: SmsMethodDependencies;

  constructor(deps: SmsMethodDependencies) {
    this.#deps = deps;
  }

  async prompt(caller: Caller, challenge: Challenge, factor: Factor, again: boolean): Promise<PromptView> {
    const { numbers, codes, messages } = this.#deps;
    const to = numbers.open(factor);
    const live = await codes.live(challenge.realm, challenge.id);
    const shown = viewOf(factor, to);
    if (!again && live?.factorId === factor.id) return shown;
    await messages.send(caller, {
      bearer: challenge,
      factorId: factor.id,
      challengeId: challenge.id,
      to,
      language: challenge.language ?? '',
      // Of any number of choices after the same code, one sends, on whichever sidecar.
      ...(again ? {} : { once: [challenge.id, factor.id, live?.mark ?? ''].join('\n') }),
      fields: { ...eventFields(challenge), factorId: factor.id },
      wanted: () => this.#isOpen(challenge),
      told: async (id, word) => {
        const delivery = { id, method: 'sms', factorId: factor.id, ...word, at: this.#deps.clock.now() } as const;
        await this.#deps.deliveries.note(challenge, delivery);
      },
    });
    return shown;
  }

  async pretend(_challenge: Challenge, factor: Factor): Promise<PromptView> {
    return viewOf(factor, this.#deps.numbers.open(factor));
  }

  async check(challenge: Challenge, factors: readonly Factor[], proof: Proof, now: EpochMs): Promise<ProofVerdict> {
    if (proof.kind !== 'sms') return WRONG;
    const { codes, messages } = this.#deps;
    const matched = await codes.match(challenge.realm, challenge.id, proof.code, now);
    const factor = matched && factors.find(({ id }) => id === matched.factorId);
    if (!matched || !factor) return WRONG;
    await messages.cameBack(factor);
    const { factorId, digest } = matched;
    return { outcome: 'right', claim: { kind: 'issued', method: 'sms', factorId, digest }, method: 'sms', factorId };
  }

  async imitate(proof: Proof): Promise<void> {
    if (proof.kind === 'sms') await this.#deps.codes.match(NOBODY.realm, NOBODY.id, proof.code, this.#deps.clock.now());
  }

  async #isOpen({ realm, id }: Challenge): Promise<boolean> {
    const challenge = await this.#deps.challenges.read(realm, id);
    return challenge !== undefined && !isTerminal(stateAt(challenge, this.#deps.clock.now()));
  }
}

function viewOf(factor: Factor, to: string): PromptView {
  return { method: 'sms', factorId: factor.id, destination: maskNumber(to) };
}

/** Both parts of the method, and its mask. */
export function smsParts(deps: SmsMethodDependencies & ConstructorParameters<typeof SmsEnrollment>[0]): MethodParts {
  return {
    challenge: new SmsMethod(deps),
    enrollment: new SmsEnrollment(deps),
    mask: (factor) => deps.numbers.masked(factor),
  };
}
