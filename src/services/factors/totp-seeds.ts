import { SEED_BYTES } from '#src/domain/totp.ts';
import type { Random, SecretBox } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { type FactorRow, FactorSecrets, type SealedFactor } from '../methods/factor-secrets.ts';

/** Makes, seals and opens TOTP seeds. */
export class TotpSeeds {
  readonly #secrets: FactorSecrets;
  readonly #random: Random;

  constructor(deps: { readonly box: SecretBox; readonly random: Random; readonly log: Log }) {
    this.#secrets = new FactorSecrets(deps);
    this.#random = deps.random;
  }

  /** A new seed, sealed to its row. */
  make(row: FactorRow): { readonly seed: Uint8Array; readonly sealed: Uint8Array } {
    const seed = this.#random.bytes(SEED_BYTES);
    return { seed, sealed: this.#secrets.seal(row, seed) };
  }

  /** Throws as FactorSecrets.open. */
  open(factor: SealedFactor): Uint8Array {
    return this.#secrets.open(factor);
  }
}
