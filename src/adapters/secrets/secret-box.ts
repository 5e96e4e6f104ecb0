import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto';
import { Fault } from '#src/domain/faults.ts';
import type { Binding, Random, SecretBox } from '#src/ports/runtime.ts';
import { deriveKey, type KeyRingData } from './key-ring.ts';

const LAYOUT = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEADER_BYTES = 1 + 4 + NONCE_BYTES;

/**
 * AES-256-GCM (NIST SP 800-38D), one key per root key and purpose. A sealed value is
 *
 *     layout (1 byte, 1) · key id (4 bytes, big-endian) · random nonce (12 bytes) · ciphertext · tag (16 bytes)
 *
 * and authenticates where it belongs: layout, key id, purpose, realm, subject and row id. Random nonces are good for
 * 2^32 values per root key and purpose (section 8.3); rotate the ring long before.
 */
export class AesGcmSecretBox implements SecretBox {
  readonly #ring: KeyRingData;
  readonly #random: Random;
  readonly #keys = new Map<string, KeyObject>();

  constructor(options: { readonly ring: KeyRingData; readonly random: Random }) {
    this.#ring = options.ring;
    this.#random = options.random;
  }

  seal(plain: Uint8Array, binding: Binding): Uint8Array {
    const keyId = this.#ring.active;
    const nonce = this.#random.bytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#key(keyId, binding.purpose), nonce, {
      authTagLength: TAG_BYTES,
    });
    cipher.setAAD(associatedData(binding, keyId));
    const sealed = new Uint8Array(HEADER_BYTES + plain.length + TAG_BYTES);
    sealed[0] = LAYOUT;
    new DataView(sealed.buffer).setUint32(1, keyId);
    sealed.set(nonce, 5);
    sealed.set(cipher.update(plain), HEADER_BYTES);
    cipher.final();
    sealed.set(cipher.getAuthTag(), HEADER_BYTES + plain.length);
    return sealed;
  }

  open(sealed: Uint8Array, binding: Binding): Uint8Array {
    if (sealed.length < HEADER_BYTES + TAG_BYTES || sealed[0] !== LAYOUT) throw broken(binding, 'not a sealed value');
    const keyId = keyIdOf(sealed);
    if (!this.#ring.keys.has(keyId)) throw broken(binding, `key ${keyId} is not in the key ring`);
    const nonce = sealed.subarray(5, HEADER_BYTES);
    const key = this.#key(keyId, binding.purpose);
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(associatedData(binding, keyId));
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    const plain = decipher.update(sealed.subarray(HEADER_BYTES, sealed.length - TAG_BYTES));
    try {
      decipher.final();
    } catch {
      plain.fill(0);
      throw broken(binding, 'altered, or moved from another row');
    }
    return new Uint8Array(plain);
  }

  /** Whether the value was sealed under an older key and should be sealed anew. */
  isStale(sealed: Uint8Array): boolean {
    return sealed.length >= HEADER_BYTES && keyIdOf(sealed) !== this.#ring.active;
  }

  #key(keyId: number, purpose: string): KeyObject {
    const name = `${keyId}/${purpose}`;
    const known = this.#keys.get(name);
    if (known) return known;
    const key = createSecretKey(deriveKey(this.#ring, keyId, `secret-box/${purpose}`));
    this.#keys.set(name, key);
    return key;
  }
}

function keyIdOf(sealed: Uint8Array): number {
  return new DataView(sealed.buffer, sealed.byteOffset, sealed.byteLength).getUint32(1);
}

/** Every part with its length in front, so that no two bindings look alike. */
function associatedData({ purpose, realm, subject, id }: Binding, keyId: number): Uint8Array {
  const parts = [purpose, realm, subject, id];
  // No unit of a string takes more than three bytes of UTF-8.
  const bytes = Buffer.allocUnsafe(parts.reduce((sum, { length }) => sum + 4 + 3 * length, 5));
  let end = bytes.writeUInt32BE(keyId, bytes.writeUInt8(LAYOUT, 0));
  for (const text of parts) {
    const length = bytes.write(text, end + 4);
    end = bytes.writeUInt32BE(length, end) + length;
  }
  return bytes.subarray(0, end);
}

function broken(binding: Binding, cause: string): Fault {
  return new Fault(
    'data-loss',
    'INTEGRITY',
    'stored data failed its integrity check; an operator has to look into it',
    {
      cause: new Error(`${binding.purpose} ${binding.id}: ${cause}`),
    },
  );
}
