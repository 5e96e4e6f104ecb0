import { createPublicKey, type KeyObject, verify } from 'node:crypto';

/** SPKI of a P-256 key (RFC 5480) up to its point, which follows uncompressed: 0x04, x, y. */
const SPKI_PREFIX = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'hex');
const SPKI_BYTES = SPKI_PREFIX.length + 65;
const SIGNATURE_BYTES = 64;

/** The public half of the key that a device made for itself. */
export interface DeviceKey {
  /** Whether the signature (ES256, IEEE P1363) over the message is of this key. Never throws. */
  verifies(message: Uint8Array, signature: Uint8Array): boolean;
}

/**
 * The key in SPKI, or undefined unless it is exactly the one encoding of a point on P-256: no other curve, no compressed
 * point, nothing behind it.
 */
export function readDeviceKey(spki: Uint8Array): DeviceKey | undefined {
  const bytes = Buffer.from(spki);
  if (bytes.length !== SPKI_BYTES || !bytes.subarray(0, SPKI_PREFIX.length).equals(SPKI_PREFIX)) return undefined;
  if (bytes[SPKI_PREFIX.length] !== 4) return undefined;
  const key = importKey(bytes);
  return key && { verifies: (message, signature) => isSignedBy(key, message, signature) };
}

/** Whether the bytes are an uncompressed point on P-256: what browsers give as `p256dh` (RFC 8291 section 3.1). */
export function isP256Point(point: Uint8Array): boolean {
  return readDeviceKey(Buffer.concat([SPKI_PREFIX, point])) !== undefined;
}

/** OpenSSL refuses points that are not on the curve. */
function importKey(spki: Buffer): KeyObject | undefined {
  try {
    return createPublicKey({ key: spki, format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}

function isSignedBy(key: KeyObject, message: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== SIGNATURE_BYTES) return false;
  try {
    return verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
  } catch {
    return false;
  }
}
