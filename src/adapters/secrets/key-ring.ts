import { createHmac, hkdfSync } from 'node:crypto';
import type { Random } from '#src/ports/runtime.ts';

/** AES-256 and HKDF-SHA-256 input keys. */
export const KEY_BYTES = 32;
const MAX_KEY_ID = 0xffff_ffff;

/**
 * The versioned root keys as plain data, so that they can be handed to the worker thread. Root keys are never used
 * directly: each purpose has its own key, derived with HKDF-SHA-256.
 */
export interface KeyRingData {
  /** The key that seals new values. */
  readonly active: number;
  /**
   * The key under keyed digests and derived seeds. Digests cannot be made anew without what they digest, so this one
   * stays when `active` moves on.
   */
  readonly digests: number;
  /** Id (1 to 2^32-1) to 32 bytes. Retired keys stay until nothing is sealed under them. */
  readonly keys: ReadonlyMap<number, Uint8Array>;
}

/** A key ring that cannot be used. The message says what is wrong and what to do, and never carries key material. */
export class KeyRingError extends Error {
  override readonly name = 'KeyRingError';
}

/** A new ring with one key. */
export function createKeyRing(random: Random): KeyRingData {
  return { active: 1, digests: 1, keys: new Map([[1, random.bytes(KEY_BYTES)]]) };
}

/** The same ring with one more key, which seals from now on. Everything sealed before still opens. */
export function rotateKeyRing(ring: KeyRingData, random: Random): KeyRingData {
  const next = Math.max(...ring.keys.keys()) + 1;
  if (next > MAX_KEY_ID) throw new KeyRingError('key ring: there is no key id left');
  return { ...ring, active: next, keys: new Map([...ring.keys, [next, random.bytes(KEY_BYTES)]]) };
}

/** The text of a key ring file: JSON with keys in base64url. */
export function formatKeyRing(ring: KeyRingData): string {
  const keys = Object.fromEntries(
    [...ring.keys].map(([id, key]) => [String(id), Buffer.from(key).toString('base64url')]),
  );
  return `${JSON.stringify({ active: ring.active, digests: ring.digests, keys }, undefined, 2)}\n`;
}

/**
 * Reads `{"active": 2, "digests": 1, "keys": {"1": "…", "2": "…"}}`, keys being 32 bytes in base64url. Without `digests`
 * the lowest id is meant. Anything else, unknown members included, throws KeyRingError.
 */
export function parseKeyRing(text: string): KeyRingData {
  const members = objectOf(parseJson(text), 'the file');
  const unknown = Object.keys(members).find((name) => !['active', 'digests', 'keys'].includes(name));
  if (unknown !== undefined) throw new KeyRingError(`key ring: ${JSON.stringify(unknown)} is not a known member`);
  const keys = new Map<number, Uint8Array>();
  for (const [id, value] of Object.entries(objectOf(members['keys'], '"keys"')))
    keys.set(keyIdOf(id), keyOf(id, value));
  if (keys.size === 0) throw new KeyRingError('key ring: "keys" is empty; it needs at least one key');
  if (new Set([...keys.values()].map((key) => Buffer.from(key).toString('hex'))).size < keys.size) {
    throw new KeyRingError('key ring: two ids carry the same key');
  }
  return {
    active: knownId(keys, 'active', members['active']),
    digests: knownId(keys, 'digests', members['digests'] ?? Math.min(...keys.keys())),
    keys,
  };
}

/** 32 bytes for one purpose: HKDF-SHA-256 (RFC 5869) of a root key. */
export function deriveKey(ring: KeyRingData, keyId: number, purpose: string): Uint8Array {
  const root = ring.keys.get(keyId);
  if (!root) throw new KeyRingError(`key ring: there is no key ${keyId}`);
  return new Uint8Array(hkdfSync('sha256', root, new Uint8Array(), `sallyport/v1/${purpose}`, KEY_BYTES));
}

/** A stable 32-byte seed for one purpose, for instance of a signing key. Rotation does not change it. */
export function deriveSeed(ring: KeyRingData, purpose: string): Uint8Array {
  return deriveKey(ring, ring.digests, `seed/${purpose}`);
}

/** Tells rings apart without saying anything about the keys; to notice that a store belongs to another ring. */
export function keyRingFingerprint(ring: KeyRingData): string {
  return createHmac('sha256', deriveKey(ring, ring.digests, 'fingerprint'))
    .digest('base64url')
    .slice(0, 16);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own message quotes the text, and the text is secret.
    throw new KeyRingError('key ring: the file is not JSON');
  }
}

function objectOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new KeyRingError(`key ring: ${what} is not a JSON object`);
  }
  return value as Readonly<Record<string, unknown>>;
}

function keyIdOf(text: string): number {
  const id = /^[1-9][0-9]{0,9}$/.test(text) ? Number(text) : 0;
  if (id < 1 || id > MAX_KEY_ID) throw new KeyRingError('key ring: key ids are whole numbers from 1 to 4294967295');
  return id;
}

function keyOf(id: string, value: unknown): Uint8Array {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'base64url') : Buffer.alloc(0);
  // Decoding skips what it does not know, so only text that comes out the same again was base64url.
  if (bytes.length !== KEY_BYTES || bytes.toString('base64url') !== value) {
    throw new KeyRingError(`key ring: key ${id} is not 32 bytes in base64url (43 characters)`);
  }
  return new Uint8Array(bytes);
}

function knownId(keys: ReadonlyMap<number, Uint8Array>, member: string, value: unknown): number {
  if (typeof value !== 'number' || !keys.has(value)) {
    throw new KeyRingError(`key ring: "${member}" does not name one of the keys`);
  }
  return value;
}
