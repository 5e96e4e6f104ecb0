import { type Factor, secretBinding } from '#src/domain/factor.ts';
import { type PushDevice, readDevice, type Subscription, writeDevice } from '#src/domain/push-device.ts';
import type { KeyedDigest, SecretBox } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';

/** Seals and opens what is kept of a device. */
export class PushSecrets {
  readonly #box: SecretBox;
  readonly #digest: KeyedDigest;
  readonly #log: Log;

  constructor(deps: { readonly box: SecretBox; readonly digest: KeyedDigest; readonly log: Log }) {
    this.#box = deps.box;
    this.#digest = deps.digest;
    this.#log = deps.log;
  }

  seal(row: Pick<Factor, 'id' | 'realm' | 'subject'>, subscription: Subscription, publicKey: Uint8Array): Uint8Array {
    return this.#box.seal(writeDevice(subscription, publicKey), secretBinding(row));
  }

  /** Throws Fault(data-loss, INTEGRITY) and raises the alarm if the row was tampered with. */
  open(factor: Pick<Factor, 'id' | 'realm' | 'subject' | 'sealedSecret'>): PushDevice {
    try {
      return readDevice(this.#box.open(factor.sealedSecret, secretBinding(factor)));
    } catch (error) {
      this.#log.error('the stored device of a factor failed its integrity check', { factorId: factor.id });
      throw error;
    }
  }

  /** One browser is one factor in a realm: two people behind one endpoint would get one another's notifications. */
  uniqueDigest(realm: string, { endpoint }: Subscription): Uint8Array {
    return this.#digest.digest('push.endpoint', `${realm}\n${endpoint}`);
  }
}
