import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import type { AnswerApproval, ApprovalView, ViewApproval } from '#src/services/methods/push-api.ts';

const SUBSCRIPTION = 'sallyport-push-subscription-v1';

/** What a device says about a challenge; every field can be bent for what is signed and for what is sent. */
export interface Said {
  readonly challengeId: string;
  readonly factorId: string;
  readonly realm: string;
  readonly subject: string;
  readonly actionDigest: string;
  readonly number: string;
  readonly answer: string;
}

/** A browser that is to approve: its subscription, its key, and what it signs, worked out apart from the server's code. */
export class SoftwarePushDevice {
  readonly #key: KeyObject;
  readonly publicKey: Uint8Array;
  readonly endpoint: string;
  readonly p256dh: string;
  readonly auth: string;

  /** `subscription` of a push service; one of its own if absent. */
  constructor(subscription?: { readonly endpoint: string; readonly p256dh: string; readonly auth: string }) {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#key = pair.privateKey;
    this.publicKey = new Uint8Array(pair.publicKey.export({ format: 'der', type: 'spki' }));
    const point = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'der', type: 'spki' });
    this.endpoint = subscription?.endpoint ?? `https://push.example.com/send/${randomBytes(18).toString('base64url')}`;
    this.p256dh = subscription?.p256dh ?? point.subarray(26).toString('base64url');
    this.auth = subscription?.auth ?? randomBytes(16).toString('base64url');
  }

  get subscriptionJson(): string {
    const { endpoint, p256dh, auth } = this;
    return JSON.stringify({ endpoint, expirationTime: null, keys: { p256dh, auth } });
  }

  sign(message: Uint8Array): Uint8Array {
    return new Uint8Array(sign('sha256', message, { key: this.#key, dsaEncoding: 'ieee-p1363' }));
  }

  enrollmentBytes(factorId: string, realm: string, subject: string): Uint8Array {
    const digest = createHash('sha256')
      .update(fields(SUBSCRIPTION, this.endpoint, this.p256dh, this.auth))
      .digest();
    return fields('sallyport-push-enroll-v1', factorId, realm, subject, this.publicKey, digest);
  }

  says({ challengeId, factorId, realm, subject, actionDigest, number, answer }: Said): Uint8Array {
    return this.sign(
      fields('sallyport-push-answer-v1', challengeId, factorId, realm, subject, actionDigest, number, answer),
    );
  }

  /** A view request as the page sends it. */
  look(
    at: { readonly realm: string; readonly factorId: string; readonly challengeId: string },
    now: number,
  ): ViewApproval {
    const { realm, factorId, challengeId } = at;
    const signature = this.sign(fields('sallyport-push-view-v1', challengeId, factorId, realm, String(now)));
    return { realm, factorId, challengeId, at: now, signature };
  }

  /** An answer as the page sends it, to what a view showed. */
  reply(
    at: { readonly realm: string; readonly factorId: string; readonly challengeId: string },
    view: Pick<ApprovalView, 'subject' | 'actionDigest'>,
    answer: 'approve' | 'deny' | 'not_me',
    number = '',
  ): AnswerApproval {
    const { realm, factorId, challengeId } = at;
    const signature = this.says({ ...at, ...view, number, answer });
    return {
      realm,
      factorId,
      challengeId,
      number,
      approve: answer === 'approve',
      notMe: answer === 'not_me',
      signature,
    };
  }
}

function fields(...parts: readonly (string | Uint8Array)[]): Uint8Array {
  return new Uint8Array(
    Buffer.concat(
      parts.map((part) => {
        const bytes = typeof part === 'string' ? Buffer.from(part, 'utf8') : Buffer.from(part);
        const length = Buffer.alloc(4);
        length.writeUInt32BE(bytes.length);
        return Buffer.concat([length, bytes]);
      }),
    ),
  );
}
