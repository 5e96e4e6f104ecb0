import { type PushDevice, readDevice, type Subscription, writeDevice } from '#src/domain/push-device.ts';
import type { KeyedDigest, SecretBox } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { type FactorRow, FactorSecrets, type SealedFactor } from './factor-secrets.ts';

/** Seals and opens what is kept of a device. */
export class PushSecrets {
  readonly #secrets: FactorSecrets;
  readonly #digest: KeyedDigest;

  constructor(deps: { readonly box: SecretBox; readonly digest: KeyedDigest; readonly log: Log }) {
    this.#secrets = new FactorSecrets(deps);
    this.#digest = deps.digest;
  }

  seal(row: FactorRow, subscription: Subscription, publicKey: Uint8Array): Uint8Array {
    return this.#secrets.seal(row, writeDevice(subscription, publicKey));
  }

  /** Throws as FactorSecrets.open. */
  open(factor: SealedFactor): PushDevice {
    return readDevice(this.#secrets.open(factor));
  }

  /** One browser is one factor in a realm: two people behind one endpoint would get one another's notifications. */
  uniqueDigest(realm: string, { endpoint }: Subscription): Uint8Array {
    return this.#digest.digest('push.endpoint', `${realm}\n${endpoint}`);
  }
}
