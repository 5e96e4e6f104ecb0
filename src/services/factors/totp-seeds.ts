import { type Factor, secretBinding } from '#src/domain/factor.ts';
import { SEED_BYTES } from '#src/domain/totp.ts';
import type { Random, SecretBox } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';

/** Makes, seals and opens TOTP seeds. */
export class TotpSeeds {
  readonly #box: SecretBox;
  readonly #random: Random;
  readonly #log: Log;

  constructor(deps: { readonly box: SecretBox; readonly random: Random; readonly log: Log }) {
    this.#box = deps.box;
    this.#random = deps.random;
    this.#log = deps.log;
  }

  /** A new seed, sealed to its row. */
  make(row: Pick<Factor, 'id' | 'realm' | 'subject'>): { readonly seed: Uint8Array; readonly sealed: Uint8Array } {
    const seed = this.#random.bytes(SEED_BYTES);
    return { seed, sealed: this.#box.seal(seed, secretBinding(row)) };
  }

  /** Throws Fault(data-loss, INTEGRITY) and raises the alarm if the row was tampered with. */
  open(factor: Pick<Factor, 'id' | 'realm' | 'subject' | 'sealedSecret'>): Uint8Array {
    try {
      return this.#box.open(factor.sealedSecret, secretBinding(factor));
    } catch (error) {
      this.#log.error('the stored secret of a factor failed its integrity check', { factorId: factor.id });
      throw error;
    }
  }
}
