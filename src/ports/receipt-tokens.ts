import type { EpochMs } from '../domain/time.ts';

/** The claims of a receipt as they stand in the token (RFC 7519); times are whole seconds. */
export interface ReceiptPayload {
  readonly iss: string;
  readonly aud: string;
  readonly sub: string;
  /** Absent if the challenge had no session. */
  readonly sid?: string;
  readonly jti: string;
  readonly iat: number;
  readonly exp: number;
  readonly realm: string;
  /** The challenge. */
  readonly cid: string;
  readonly purpose: string;
  /** The action digest. */
  readonly act: string;
  readonly amr: readonly string[];
  readonly acr: string;
  /** Why it was approved. */
  readonly apr: string;
  /** The method that proved it; absent when approved without a proof. */
  readonly mth?: string;
}

export interface PublicKey {
  readonly id: string;
  /** JWK as JSON. */
  readonly publicJwk: string;
}

/** Signs with one private key. */
export interface ReceiptSigner {
  /** A compact JWS, EdDSA, `typ` `sallyport-receipt+jwt`; the same payload gives the same text. */
  sign(payload: ReceiptPayload): Promise<string>;
}

/** Verifies with a fixed set of public keys. */
export interface ReceiptVerifier {
  /**
   * The payload, or undefined unless everything holds: algorithm and `typ` as pinned, a known `kid`, the signature, the
   * issuer, `exp` still ahead of `now` without tolerance, and every claim of the right type. Never throws.
   */
  verify(
    token: string,
    expected: { readonly issuer: string; readonly now: EpochMs },
  ): Promise<ReceiptPayload | undefined>;
}

/** Making, signing and verifying receipts; keys are kept elsewhere. */
export interface ReceiptTokens {
  /** A new Ed25519 key pair: the public JWK as JSON and the private key as PKCS #8. */
  generate(): Promise<{ readonly publicJwk: string; readonly pkcs8: Uint8Array }>;
  signer(keyId: string, pkcs8: Uint8Array): Promise<ReceiptSigner>;
  verifier(keys: readonly PublicKey[]): ReceiptVerifier;
}
