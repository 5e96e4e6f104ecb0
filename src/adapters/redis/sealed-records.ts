import type { Challenge } from '#src/domain/challenge.ts';
import type { SecretBox } from '#src/ports/runtime.ts';

/** Grows with the form of what is sealed; another one is as good as nothing. */
const FORM = 1;

/**
 * Records as sealed text. What Redis holds can so neither be read nor made there, and not be moved to another realm or
 * key; an old value of the same key stays possible.
 */
export class SealedRecords<T> {
  readonly #box: SecretBox;
  readonly #purpose: string;

  constructor(options: { readonly box: SecretBox; readonly purpose: string }) {
    this.#box = options.box;
    this.#purpose = options.purpose;
  }

  seal(record: T, realm: string, key: string): Buffer {
    const sealed = this.#box.seal(Buffer.from(JSON.stringify([FORM, record])), this.#binding(realm, key));
    return Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  }

  /** Undefined when it does not open under the key ring, or has another form. */
  open(sealed: Uint8Array, realm: string, key: string): T | undefined {
    let plain: Uint8Array;
    try {
      plain = this.#box.open(sealed, this.#binding(realm, key));
    } catch {
      return undefined;
    }
    const text = Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength).toString('utf8');
    const [form, record] = JSON.parse(text) as readonly [number, T];
    return form === FORM ? record : undefined;
  }

  #binding(realm: string, key: string) {
    return { purpose: this.#purpose, realm, subject: '', id: key };
  }
}

/** A challenge as JSON can carry it. */
export type ChallengeRecord = Omit<Challenge, 'action'> & {
  readonly action: Omit<Challenge['action'], 'details'> & { readonly details: readonly (readonly [string, string])[] };
};

export function challengeRecord(challenge: Challenge): ChallengeRecord {
  return { ...challenge, action: { ...challenge.action, details: [...challenge.action.details] } };
}

export function challengeOf(record: ChallengeRecord): Challenge {
  return { ...record, action: { ...record.action, details: new Map(record.action.details) } };
}
