import type { Challenge } from '#src/domain/challenge.ts';
import { type PushDigits, pushNumber } from '#src/domain/push-number.ts';
import type { KeyedDigest } from '#src/ports/runtime.ts';

/**
 * The number of a challenge and a device. It is worked out under the digest key from ids that are random and used once,
 * so nobody can tell it in advance, nothing that shows it has to be stored, and sidecars that are asked at the same time
 * show the same.
 */
export class PushNumbers {
  readonly digits: PushDigits;
  readonly #digest: KeyedDigest;

  constructor(deps: { readonly digest: KeyedDigest; readonly digits: PushDigits }) {
    this.digits = deps.digits;
    this.#digest = deps.digest;
  }

  of({ id }: Pick<Challenge, 'id'>, factorId: string): string {
    return pushNumber(this.#digest.digest('push.number', `${id}\n${factorId}`), this.digits);
  }

  /** What is stored, and what a typed number is compared by. */
  digestOf({ id }: Pick<Challenge, 'id'>, factorId: string, number: string): Uint8Array {
    return this.#digest.digest('push.answer', `${id}\n${factorId}\n${number}`);
  }
}
