import type { Caller } from '#src/domain/caller.ts';
import type { Factor } from '#src/domain/factor.ts';
import { maskNumber } from '#src/domain/phone-number.ts';
import { type EpochMs, isOver } from '#src/domain/time.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type {
  EnrollmentInput,
  EnrollmentMaterial,
  EnrollmentMethod,
  EnrollmentProof,
  EnrollmentVerdict,
  PreparedFactor,
} from './contract.ts';
import type { SmsCodes } from './sms-codes.ts';
import type { SmsWord } from './sms-delivery.ts';
import type { SmsLimits } from './sms-limits.ts';
import { notSent, type SmsMessages } from './sms-messages.ts';
import type { SmsNumbers } from './sms-numbers.ts';

export interface SmsEnrollmentDependencies {
  readonly numbers: SmsNumbers;
  readonly codes: SmsCodes;
  readonly limits: SmsLimits;
  readonly messages: SmsMessages;
  readonly factors: Pick<FactorStore, 'read'>;
  readonly clock: Clock;
  readonly log: Log;
}

type Row = Pick<Factor, 'id' | 'realm' | 'subject'>;

const WRONG: EnrollmentVerdict = {
  outcome: 'wrong',
  field: 'code',
  description: 'is not the code of the newest message to this number',
};

/** Enrols a number by a code that was sent to that very number. */
export class SmsEnrollment implements EnrollmentMethod {
  readonly method = 'sms';
  readonly guessable = true;
  readonly #deps: SmsEnrollmentDependencies;

  constructor(deps: SmsEnrollmentDependencies) {
    this.#deps = deps;
  }

  async prepare(row: Row, input: EnrollmentInput): Promise<PreparedFactor> {
    const { numbers } = this.#deps;
    const number = await numbers.take(input.phoneNumber);
    numbers.checkName(input.displayName, number);
    return { sealedSecret: numbers.seal(row, number), displayName: maskNumber(number.e164) };
  }

  /** Waits for the provider's answer, at most until it takes long, so that "not sent" can be said at once. */
  async material(caller: Caller, factor: Factor, input: EnrollmentInput, repeat: boolean): Promise<EnrollmentMaterial> {
    const { numbers, codes, messages } = this.#deps;
    const { realm, subject, id } = factor;
    const to = numbers.open(factor);
    const shown = { kind: 'sms', destination: maskNumber(to) } as const;
    if (repeat) {
      if (!(await codes.live(realm, id))) throw notSent('NOT_SENT');
      return shown;
    }
    const first = Promise.withResolvers<SmsWord>();
    await messages.send(caller, {
      bearer: { realm, subject, id, expiresAt: factor.expiresAt },
      factorId: id,
      challengeId: '',
      to,
      language: input.language,
      fields: { factorId: id },
      wanted: () => this.#isPending(factor),
      told: async (_, word) => {
        if (word.status === 'QUEUED' && word.reason === '') return;
        if (word.status === 'FAILED') await codes.void(realm, id);
        first.resolve(word);
      },
    });
    const { status, reason } = await first.promise;
    if (status === 'FAILED') throw notSent(reason);
    return shown;
  }

  async check(factor: Factor, proof: EnrollmentProof, now: EpochMs): Promise<EnrollmentVerdict> {
    if (proof.kind !== 'code') return WRONG;
    const { realm, id } = factor;
    const matched = await this.#deps.codes.match(realm, id, proof.code, now);
    if (matched?.factorId !== id) return WRONG;
    await this.#credit(factor);
    return { outcome: 'right', proof: { kind: 'issued', digest: matched.digest } };
  }

  async #credit(factor: Factor): Promise<void> {
    const { numbers, limits, log } = this.#deps;
    try {
      await limits.credit(factor.realm, await numbers.countryOf(numbers.open(factor)));
    } catch (error) {
      log.warn('a code that came back could not be credited', { error: String(error) });
    }
  }

  async #isPending({ realm, id }: Factor): Promise<boolean> {
    const factor = await this.#deps.factors.read(realm, id);
    return factor?.state === 'PENDING' && !isOver(factor.expiresAt, this.#deps.clock.now());
  }
}
