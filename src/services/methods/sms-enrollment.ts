import type { Caller } from '#src/domain/caller.ts';
import type { Factor } from '#src/domain/factor.ts';
import { maskNumber } from '#src/domain/phone-number.ts';
import { type EpochMs, isOver } from '#src/domain/time.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
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
import { notSent, type SmsMessages } from './sms-messages.ts';
import type { SmsNumbers } from './sms-numbers.ts';

export interface SmsEnrollmentDependencies {
  readonly numbers: SmsNumbers;
  readonly codes: SmsCodes;
  readonly messages: SmsMessages;
  readonly factors: Pick<FactorStore, 'read'>;
  readonly clock: Clock;
}

type Row = Pick<Factor, 'id' | 'realm' | 'subject'>;

const WRONG: EnrollmentVerdict = {
  outcome: 'wrong',
  field: 'code',
  description: 'is not the code of the newest message to this number',
};

/** Another enrolment took its place, or its time is up. */
const OVER: SmsWord = { status: 'FAILED', reason: 'TOO_LATE', resendable: false };

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
      wanted: async () => {
        const wanted = await this.#isPending(factor);
        // What is dropped is told to nobody, and whoever began this still waits.
        if (!wanted) first.resolve(OVER);
        return wanted;
      },
      told: async (_, word) => {
        if (word.status === 'QUEUED' && word.reason === '') return;
        try {
          if (word.status === 'FAILED') await codes.void(realm, id);
        } finally {
          first.resolve(word);
        }
      },
    });
    const { status, reason } = await first.promise;
    if (status === 'FAILED') throw notSent(reason);
    return shown;
  }

  async check(factor: Factor, proof: EnrollmentProof, now: EpochMs): Promise<EnrollmentVerdict> {
    if (proof.kind !== 'code') return WRONG;
    const { realm, id } = factor;
    const { codes, messages } = this.#deps;
    const matched = await codes.match(realm, id, proof.code, now);
    if (matched?.factorId !== id) return WRONG;
    await messages.cameBack(factor);
    return { outcome: 'right', proof: { kind: 'issued', digest: matched.digest } };
  }

  async #isPending({ realm, id }: Factor): Promise<boolean> {
    const factor = await this.#deps.factors.read(realm, id);
    return factor?.state === 'PENDING' && !isOver(factor.expiresAt, this.#deps.clock.now());
  }
}
