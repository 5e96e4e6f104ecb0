import type { Bytes } from './push-bytes.ts';

const P256 = { name: 'ECDSA', namedCurve: 'P-256' } as const;

export interface MadeKey {
  /** Not extractable: no script, ours included, can read it. */
  readonly privateKey: CryptoKey;
  /** SPKI. */
  readonly publicKey: Bytes;
}

export async function makeDeviceKey(): Promise<MadeKey> {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(P256, false, ['sign', 'verify']);
  return { privateKey, publicKey: new Uint8Array(await crypto.subtle.exportKey('spki', publicKey)) };
}

/** ES256: r and s of 32 bytes each. */
export async function signWith(privateKey: CryptoKey, bytes: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, privateKey, bytes));
}
