import type { Caller } from '#src/domain/caller.ts';
import type { Factor } from '#src/domain/factor.ts';
import { type FieldViolation, invalidFields } from '#src/domain/faults.ts';
import { readSubscription, type Subscription } from '#src/domain/push-device.ts';
import { type DeviceKey, readDeviceKey } from '#src/domain/push-device-key.ts';
import { pushEnrollmentBytes } from '#src/domain/push-message.ts';
import type { PushSender } from '#src/ports/senders.ts';
import type {
  EnrollmentInput,
  EnrollmentMaterial,
  EnrollmentMethod,
  EnrollmentProof,
  EnrollmentVerdict,
  PreparedFactor,
} from './contract.ts';
import type { PushSecrets } from './push-secrets.ts';
import type { PushTickets } from './push-tickets.ts';

export interface PushEnrollmentDependencies {
  readonly sender: Pick<PushSender, 'refusal'>;
  readonly secrets: PushSecrets;
  readonly tickets: PushTickets;
  /** Where browsers reach the public listener, without a slash at its end. */
  readonly publicUrl: string;
}

/** What a browser made, looked at. */
export interface ReadDevice {
  readonly subscription: Subscription;
  readonly publicKey: Uint8Array;
  readonly key: DeviceKey;
}

const WRONG: EnrollmentVerdict = {
  outcome: 'wrong',
  field: 'push_signature',
  description: 'is not of the device key over the bytes that were to be signed',
};

/**
 * Enrols browsers, in two ways: the application hands in subscription and key, or it gets a link with which a browser
 * hands them in itself (PushDeviceService). Either way the browser signs factor, person, key and subscription, so nobody
 * enrols a key that is not theirs, and nobody's signature enrols for another person.
 */
export class PushEnrollments implements EnrollmentMethod {
  readonly method = 'push';
  readonly guessable = false;
  readonly #deps: PushEnrollmentDependencies;

  constructor(deps: PushEnrollmentDependencies) {
    this.#deps = deps;
  }

  async prepare(row: Pick<Factor, 'id' | 'realm' | 'subject'>, input: EnrollmentInput): Promise<PreparedFactor> {
    const { pushSubscriptionJson: json, devicePublicKey: key } = input;
    if (json === '' && key.length === 0) return { sealedSecret: new Uint8Array() };
    const device = this.read(json, key);
    return this.#sealed(row, device);
  }

  async material(_caller: Caller, factor: Factor): Promise<EnrollmentMaterial> {
    if (factor.sealedSecret.length > 0)
      return { kind: 'push_challenge', bytes: this.bytes(factor, this.#open(factor)) };
    return { kind: 'push_link', url: `${this.#deps.publicUrl}/push/enroll#${this.#deps.tickets.make(factor)}` };
  }

  async check(factor: Factor, proof: EnrollmentProof): Promise<EnrollmentVerdict> {
    if (proof.kind !== 'push') return WRONG;
    const { made, signature } = proof;
    // What was begun in one way is not confirmed in the other.
    if ((made === undefined) !== factor.sealedSecret.length > 0) return WRONG;
    const device = made ? this.read(made.subscriptionJson, made.devicePublicKey) : this.#open(factor);
    if (!device.key.verifies(this.bytes(factor, device), signature)) return WRONG;
    return { outcome: 'right', proof: { kind: 'made', ...this.#sealed(factor, device), signCount: 0 } };
  }

  /** Throws Fault(invalid, FIELD_INVALID); its words do not repeat the values. */
  read(json: string, spki: Uint8Array): ReadDevice {
    const violations: FieldViolation[] = [];
    const wrong = (field: string, description: string) => violations.push({ field, description });
    const read = readSubscription(json);
    const key = readDeviceKey(spki);
    const refusal = 'wrong' in read ? undefined : this.#deps.sender.refusal(read.endpoint);
    if (json === '') wrong('push_subscription_json', 'is needed beside device_public_key; leave both out for a link');
    else if ('wrong' in read) wrong('push_subscription_json', read.wrong);
    else if (refusal !== undefined) wrong('push_subscription_json', `its endpoint ${refusal}`);
    if (spki.length === 0)
      wrong('device_public_key', 'is needed beside push_subscription_json; leave both out for a link');
    else if (!key) wrong('device_public_key', 'is not the SPKI of a point on P-256');
    if ('wrong' in read || !key || violations.length > 0) throw invalidFields(violations);
    return { subscription: read, publicKey: spki, key };
  }

  /** What the device has to sign. */
  bytes({ id, realm, subject }: Pick<Factor, 'id' | 'realm' | 'subject'>, device: Omit<ReadDevice, 'key'>): Uint8Array {
    const { publicKey, subscription } = device;
    return pushEnrollmentBytes({ factorId: id, realm, subject, publicKey, subscription });
  }

  #open(factor: Factor): ReadDevice {
    return this.#deps.secrets.open(factor);
  }

  #sealed(row: Pick<Factor, 'id' | 'realm' | 'subject'>, { subscription, publicKey }: ReadDevice) {
    const { secrets } = this.#deps;
    return {
      sealedSecret: secrets.seal(row, subscription, publicKey),
      uniqueDigest: secrets.uniqueDigest(row.realm, subscription),
    };
  }
}
