import { createPrivateKey, createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto';
import type { Checkpoint, CheckpointKey } from '#src/ports/audit.ts';

/** DER around a raw Ed25519 seed (RFC 8410 section 7) and around a raw public key (section 4). */
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const PUBLIC_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

/** The id of a checkpoint key: the first 16 bytes of SHA-256 of the raw public key, in hex. */
export function checkpointKeyId(publicKey: Uint8Array): string {
  return hash('sha256', publicKey, 'hex').slice(0, 32);
}

/** Signs the heads of chains and the anchor (Ed25519, RFC 8032). */
export class CheckpointSigner {
  readonly key: CheckpointKey;
  readonly #private: KeyObject;

  /** `seed` is the 32-byte Ed25519 private key; the same seed always gives the same key. */
  constructor(seed: Uint8Array) {
    if (seed.length !== 32) throw new RangeError('a checkpoint seed has 32 bytes');
    this.#private = createPrivateKey({ key: Buffer.concat([PRIVATE_PREFIX, seed]), format: 'der', type: 'pkcs8' });
    const publicKey = createPublicKey(this.#private).export({ format: 'der', type: 'spki' }).subarray(-32);
    this.key = { keyId: checkpointKeyId(publicKey), publicKey };
  }

  checkpoint(head: Pick<Checkpoint, 'chainId' | 'sequence' | 'headHash' | 'signedAt'>): Checkpoint {
    return { ...head, keyId: this.key.keyId, signature: this.sign(checkpointText(head)) };
  }

  sign(text: string): Uint8Array {
    return sign(null, Buffer.from(text, 'utf8'), this.#private);
  }
}

/** What a checkpoint signs. */
function checkpointText(head: Pick<Checkpoint, 'chainId' | 'sequence' | 'headHash' | 'signedAt'>): string {
  const { chainId, sequence, headHash, signedAt } = head;
  return `sallyport-checkpoint-v1\n${chainId}\n${sequence}\n${Buffer.from(headHash).toString('hex')}\n${signedAt}\n`;
}

/** Never throws: a malformed key or signature is a false one. */
export function isSigned(text: string, signature: Uint8Array, publicKey: Uint8Array): boolean {
  try {
    const key = createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX, publicKey]), format: 'der', type: 'spki' });
    return verify(null, Buffer.from(text, 'utf8'), key, signature);
  } catch {
    return false;
  }
}

export function isCheckpointSigned(checkpoint: Checkpoint, publicKey: Uint8Array): boolean {
  return isSigned(checkpointText(checkpoint), checkpoint.signature, publicKey);
}
