import { type Factor, secretBinding } from '#src/domain/factor.ts';
import type { SecretBox } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';

/** The row that a secret is bound to. */
export type FactorRow = Pick<Factor, 'id' | 'realm' | 'subject'>;
export type SealedFactor = FactorRow & Pick<Factor, 'sealedSecret'>;

/** Seals what is kept of a factor to its row, and opens it again. */
export class FactorSecrets {
  readonly #box: SecretBox;
  readonly #log: Log;

  constructor(deps: { readonly box: SecretBox; readonly log: Log }) {
    this.#box = deps.box;
    this.#log = deps.log;
  }

  seal(row: FactorRow, plain: Uint8Array): Uint8Array {
    return this.#box.seal(plain, secretBinding(row));
  }

  /** Throws Fault(data-loss, INTEGRITY) and raises the alarm if the row was tampered with. */
  open(factor: SealedFactor): Uint8Array {
    try {
      return this.#box.open(factor.sealedSecret, secretBinding(factor));
    } catch (error) {
      this.#log.error('the stored secret of a factor failed its integrity check', { factorId: factor.id });
      throw error;
    }
  }
}
