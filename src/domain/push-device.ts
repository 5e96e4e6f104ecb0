import { type DeviceKey, isP256Point, readDeviceKey } from './push-device-key.ts';

/** A browser's push subscription, as its `toJSON` has it (W3C Push API section 8). */
export interface Subscription {
  /** A capability URL: whoever has it can send. */
  readonly endpoint: string;
  /** base64url of 65 bytes: an uncompressed point on P-256. */
  readonly p256dh: string;
  /** base64url of 16 bytes. */
  readonly auth: string;
}

/** What is kept of an enrolled device; sealed as the secret of its factor. */
export interface PushDevice {
  readonly subscription: Subscription;
  /** SPKI. */
  readonly publicKey: Uint8Array;
  readonly key: DeviceKey;
}

/** Longer than any push service's; a row stays small. */
const MAX_ENDPOINT = 1_024;
const MAX_JSON = 4_096;
/** Visible ASCII without what has a meaning of its own to some parser of URLs. */
const ENDPOINT = /^https:\/\/[\x21-\x7e]+$/;
const AMBIGUOUS = /[\\@#"<>^`{|}]/;

/**
 * Reads a PushSubscription as JSON. Answers what is wrong with it, in words for the caller, or the subscription. Which
 * hosts are taken is not asked here.
 */
export function readSubscription(json: string): Subscription | { readonly wrong: string } {
  if (json.length > MAX_JSON) return { wrong: `is longer than ${MAX_JSON} characters` };
  const parsed = fieldsOf(json);
  if (!parsed) return { wrong: 'is not the JSON of a PushSubscription' };
  const { endpoint, p256dh, auth } = parsed;
  if (!isEndpoint(endpoint)) return { wrong: 'has no endpoint that is a plain https URL' };
  const point = exactly(p256dh);
  if (!point || !isP256Point(point)) return { wrong: 'has no keys.p256dh that is a point on P-256' };
  if (exactly(auth)?.length !== 16) return { wrong: 'has no keys.auth of 16 bytes' };
  return { endpoint, p256dh, auth };
}

/** What is sealed. */
export function writeDevice(subscription: Subscription, publicKey: Uint8Array): Uint8Array {
  const { endpoint, p256dh, auth } = subscription;
  return Buffer.from(JSON.stringify({ endpoint, p256dh, auth, key: Buffer.from(publicKey).toString('base64url') }));
}

/** Throws on anything that `writeDevice` did not write. */
export function readDevice(bytes: Uint8Array): PushDevice {
  const { endpoint, p256dh, auth, key } = JSON.parse(Buffer.from(bytes).toString('utf8')) as Subscription & {
    readonly key: string;
  };
  const publicKey = new Uint8Array(Buffer.from(key, 'base64url'));
  const read = readDeviceKey(publicKey);
  if (!read) throw new TypeError('a stored push device has no key');
  return { subscription: { endpoint, p256dh, auth }, publicKey, key: read };
}

/** Every parser of URLs has to see the same host in it: it is written as the WHATWG parser writes it, and plainly. */
function isEndpoint(text: string): boolean {
  if (text.length > MAX_ENDPOINT || !ENDPOINT.test(text) || AMBIGUOUS.test(text)) return false;
  const url = URL.parse(text);
  return url !== null && url.href === text && url.hostname !== '' && url.pathname !== '/';
}

function fieldsOf(json: string): Subscription | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  const { endpoint, keys } = asRecord(value);
  const { p256dh, auth } = asRecord(keys);
  return typeof endpoint === 'string' && typeof p256dh === 'string' && typeof auth === 'string'
    ? { endpoint, p256dh, auth }
    : undefined;
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

/** base64url in its one spelling, padding apart; undefined otherwise. */
function exactly(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text.replace(/={1,2}$/, '') ? new Uint8Array(bytes) : undefined;
}
