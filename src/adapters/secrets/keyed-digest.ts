import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import type { KeyedDigest } from '#src/ports/runtime.ts';
import { deriveKey, type KeyRingData } from './key-ring.ts';

/** HMAC-SHA-256 (RFC 2104), 32 bytes, one key per purpose under the ring's digest key. */
export class HmacKeyedDigest implements KeyedDigest {
  readonly #ring: KeyRingData;
  readonly #keys = new Map<string, KeyObject>();

  constructor(options: { readonly ring: KeyRingData }) {
    this.#ring = options.ring;
  }

  digest(purpose: string, value: string | Uint8Array): Uint8Array {
    return new Uint8Array(createHmac('sha256', this.#key(purpose)).update(value).digest());
  }

  #key(purpose: string): KeyObject {
    const known = this.#keys.get(purpose);
    if (known) return known;
    const key = createSecretKey(deriveKey(this.#ring, this.#ring.digests, `digest/${purpose}`));
    this.#keys.set(purpose, key);
    return key;
  }
}
