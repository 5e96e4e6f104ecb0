/**
 * The bytes that a device signs, as domain/push-message.ts lays them out: the name of the message, then its fields, each
 * with its length in front (4 bytes, big-endian), text as UTF-8. They are put together from what this browser knows and
 * shows, never taken from the server, so that a signature says what the person saw.
 */
export type Bytes = Uint8Array<ArrayBuffer>;

export type PushAnswer = 'approve' | 'deny' | 'not_me';

export interface SubscriptionFields {
  readonly endpoint: string;
  readonly p256dh: string;
  readonly auth: string;
}

export async function enrollmentBytes(fields: {
  readonly factorId: string;
  readonly realm: string;
  readonly subject: string;
  /** SPKI. */
  readonly publicKey: Bytes;
  readonly subscription: SubscriptionFields;
}): Promise<Bytes> {
  const { factorId, realm, subject, publicKey, subscription } = fields;
  const { endpoint, p256dh, auth } = subscription;
  const digest = await sha256(message(['sallyport-push-subscription-v1', endpoint, p256dh, auth]));
  return message(['sallyport-push-enroll-v1', factorId, realm, subject, publicKey, digest]);
}

export function viewBytes(fields: {
  readonly challengeId: string;
  readonly factorId: string;
  readonly realm: string;
  /** Milliseconds since 1970, by this device. */
  readonly at: number;
}): Bytes {
  const { challengeId, factorId, realm, at } = fields;
  return message(['sallyport-push-view-v1', challengeId, factorId, realm, String(at)]);
}

export function answerBytes(fields: {
  readonly challengeId: string;
  readonly factorId: string;
  readonly realm: string;
  readonly subject: string;
  readonly actionDigest: string;
  readonly number: string;
  readonly answer: PushAnswer;
}): Bytes {
  const { challengeId, factorId, realm, subject, actionDigest, number, answer } = fields;
  return message(['sallyport-push-answer-v1', challengeId, factorId, realm, subject, actionDigest, number, answer]);
}

export interface ShownAction {
  readonly resource: string;
  readonly action: string;
  readonly details: readonly (readonly [key: string, value: string])[];
}

/** As domain/action.ts: details sorted by the bytes of their keys; `sha-256:` and 43 characters of base64url. */
export async function actionDigest(realm: string, subject: string, shown: ShownAction): Promise<string> {
  const details = [...shown.details].sort(([a], [b]) => compare(utf8(a), utf8(b)));
  const parts = ['sallyport-action-v1', realm, subject, shown.resource, shown.action, String(details.length)];
  return `sha-256:${base64url(await sha256(message([...parts, ...details.flat()])))}`;
}

export function base64url(bytes: Uint8Array): string {
  const binary = Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
}

/** Throws on anything that is not base64url. */
export function fromBase64url(text: string): Bytes {
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

async function sha256(bytes: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
}

function utf8(text: string): Bytes {
  return new TextEncoder().encode(text);
}

function compare(a: Bytes, b: Bytes): number {
  const different = a.findIndex((byte, index) => byte !== b[index]);
  if (different === -1) return a.length - b.length;
  return (a[different] ?? 0) - (b[different] ?? -1);
}

function message(fields: readonly (string | Bytes)[]): Bytes {
  const parts = fields.map((field) => (typeof field === 'string' ? utf8(field) : field));
  const bytes = new Uint8Array(parts.reduce((length, part) => length + 4 + part.length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const part of parts) {
    view.setUint32(at, part.length);
    bytes.set(part, at + 4);
    at += 4 + part.length;
  }
  return bytes;
}
