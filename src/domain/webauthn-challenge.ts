import { createHash } from 'node:crypto';

/** Which ceremony a nonce is for: a nonce of one never fits the other. */
export type CeremonyPurpose = 'assert' | 'register';

/** Random bytes in each ceremony's challenge; twice what W3C WebAuthn Level 3 section 13.4.3 asks for. */
export const NONCE_BYTES = 32;

export interface Ceremony {
  readonly purpose: CeremonyPurpose;
  /** `NONCE_BYTES` random bytes, made for this ceremony and used once. */
  readonly nonce: Uint8Array;
  readonly realm: string;
  readonly subject: string;
  /** The challenge that is answered, or the pending factor. */
  readonly bearerId: string;
  /** What is approved: the digest of the challenge's action; '' for a registration. */
  readonly actionDigest: string;
}

/**
 * The `challenge` of a ceremony, 32 bytes: SHA-256 over a label and every part with its length in front. The authenticator
 * signs it, so its answer is bound to the person, the challenge and the action, and fits nothing else.
 */
export function ceremonyChallenge(ceremony: Ceremony): Uint8Array {
  const { purpose, nonce, realm, subject, bearerId, actionDigest } = ceremony;
  if (nonce.length !== NONCE_BYTES) throw new RangeError(`a nonce has ${NONCE_BYTES} bytes`);
  const hash = createHash('sha256');
  const part = (bytes: Uint8Array) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    hash.update(length).update(bytes);
  };
  part(Buffer.from('sallyport-webauthn-v1', 'utf8'));
  part(nonce);
  for (const text of [purpose, realm, subject, bearerId, actionDigest]) part(Buffer.from(text, 'utf8'));
  return new Uint8Array(hash.digest());
}
