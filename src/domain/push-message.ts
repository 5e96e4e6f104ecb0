import { createHash } from 'node:crypto';

/**
 * The exact bytes that a push device signs with ES256 (ECDSA on P-256 with SHA-256; r and s of 32 bytes each, IEEE
 * P1363, as WebCrypto makes them). A message is a list of fields, each with its length in front: 4 bytes, big-endian,
 * then the field itself, text as UTF-8. The first field names the message and its version, so that nothing signed for
 * one purpose is good for another, and no two lists of fields give the same bytes. test/domain/push-message.test.ts has
 * vectors for devices written in other languages.
 */
const APPROVAL = 'sallyport-push-answer-v1';
const VIEW = 'sallyport-push-view-v1';
const ENROLLMENT = 'sallyport-push-enroll-v1';
const SUBSCRIPTION = 'sallyport-push-subscription-v1';

/** What the person said on the device. */
export type PushAnswer = 'approve' | 'deny' | 'not_me';

/** Fields of an answer, in their order. */
export interface PushAnswerFields {
  readonly challengeId: string;
  readonly factorId: string;
  readonly realm: string;
  readonly subject: string;
  /** As the server gave it, `sha-256:` in front (domain/action.ts); the device computes it from what it shows. */
  readonly actionDigest: string;
  /** As typed, digits only; may be '' unless it approves. */
  readonly number: string;
  readonly answer: PushAnswer;
}

/** Bytes to sign for approve, deny and "this was not me". */
export function pushAnswerBytes(fields: PushAnswerFields): Uint8Array {
  const { challengeId, factorId, realm, subject, actionDigest, number, answer } = fields;
  return message([APPROVAL, challengeId, factorId, realm, subject, actionDigest, number, answer]);
}

/** Bytes to sign to be told what a notification is about. */
export function pushViewBytes(fields: {
  readonly challengeId: string;
  readonly factorId: string;
  readonly realm: string;
  /** By the clock of the device, whole milliseconds since 1970. */
  readonly issuedAt: number;
}): Uint8Array {
  return message([VIEW, fields.challengeId, fields.factorId, fields.realm, String(fields.issuedAt)]);
}

/** Bytes to sign to enrol: this key and this subscription, for this person's pending factor and no other. */
export function pushEnrollmentBytes(fields: {
  readonly factorId: string;
  readonly realm: string;
  readonly subject: string;
  /** SPKI. */
  readonly publicKey: Uint8Array;
  readonly subscription: { readonly endpoint: string; readonly p256dh: string; readonly auth: string };
}): Uint8Array {
  const { factorId, realm, subject, publicKey, subscription } = fields;
  return message([ENROLLMENT, factorId, realm, subject, publicKey, subscriptionDigest(subscription)]);
}

/** SHA-256 (32 bytes) of the message of endpoint, p256dh and auth, each as the browser's JSON has it. */
export function subscriptionDigest(subscription: {
  readonly endpoint: string;
  readonly p256dh: string;
  readonly auth: string;
}): Uint8Array {
  const { endpoint, p256dh, auth } = subscription;
  return new Uint8Array(
    createHash('sha256')
      .update(message([SUBSCRIPTION, endpoint, p256dh, auth]))
      .digest(),
  );
}

function message(fields: readonly (string | Uint8Array)[]): Uint8Array {
  const parts = fields.flatMap((field) => {
    const bytes = Buffer.from(field);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return [length, bytes];
  });
  return new Uint8Array(Buffer.concat(parts));
}
