import type { SecretBox } from '#src/ports/runtime.ts';

/** What a status callback is about. It stands, sealed, in the URL that the provider calls, and nowhere else. */
export interface SmsReference {
  readonly realm: string;
  /** '' for the code of an enrolment. */
  readonly challengeId: string;
  readonly factorId: string;
  readonly deliveryId: string;
}

/** Where the public listener takes status callbacks; the sealed reference follows. */
const CALLBACK_PATH = '/callbacks/twilio?about=';

const BINDING = { purpose: 'sms.callback', realm: '', subject: '', id: '' };
const LONGEST = 1_024;

/** Makes the URLs that the provider reports to, and reads them. */
export class SmsCallbackLinks {
  readonly #box: SecretBox;
  readonly #publicUrl: string;

  /** `publicUrl`: origin of the public listener as the provider reaches it; '' where it cannot. */
  constructor(deps: { readonly box: SecretBox; readonly publicUrl: string }) {
    this.#box = deps.box;
    this.#publicUrl = deps.publicUrl.replace(/\/+$/, '');
  }

  /** '' when nobody could call. */
  make({ realm, challengeId, factorId, deliveryId }: SmsReference): string {
    if (this.#publicUrl === '') return '';
    const plain = Buffer.from(JSON.stringify([realm, challengeId, factorId, deliveryId]), 'utf8');
    const sealed = Buffer.from(this.#box.seal(plain, BINDING)).toString('base64url');
    return `${this.#publicUrl}${CALLBACK_PATH}${sealed}`;
  }

  /** Undefined for whatever was not made with this key ring. */
  read(url: string): SmsReference | undefined {
    const sealed = url.slice(url.indexOf(CALLBACK_PATH) + CALLBACK_PATH.length);
    if (!url.includes(CALLBACK_PATH) || sealed.length > LONGEST || !/^[\w-]+$/.test(sealed)) return undefined;
    try {
      const plain = this.#box.open(Buffer.from(sealed, 'base64url'), BINDING);
      const parts: unknown = JSON.parse(Buffer.from(plain).toString('utf8'));
      if (!Array.isArray(parts) || !parts.every((part) => typeof part === 'string')) return undefined;
      const [realm = '', challengeId = '', factorId = '', deliveryId = ''] = parts;
      return { realm, challengeId, factorId, deliveryId };
    } catch {
      return undefined;
    }
  }
}
