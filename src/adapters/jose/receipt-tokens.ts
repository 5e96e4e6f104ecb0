import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject, type webcrypto } from 'node:crypto';
import { promisify } from 'node:util';
import { jwtVerify, SignJWT } from 'jose';
import type { PublicKey, ReceiptPayload, ReceiptTokens } from '#src/ports/receipt-tokens.ts';

const ALGORITHM = 'EdDSA';
const TYPE = 'sallyport-receipt+jwt';
/** Far longer than any receipt of ours; beyond it nothing is parsed. */
const MAX_TOKEN_LENGTH = 8_192;

const generate = promisify(generateKeyPair);

/** Receipts as JWTs (RFC 7519) signed with EdDSA over Ed25519 (RFC 8037). */
export const joseReceiptTokens: ReceiptTokens = {
  async generate() {
    const pair = await generate('ed25519');
    return {
      publicJwk: JSON.stringify(pair.publicKey.export({ format: 'jwk' })),
      pkcs8: new Uint8Array(pair.privateKey.export({ format: 'der', type: 'pkcs8' })),
    };
  },

  async signer(keyId, pkcs8) {
    const key = createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' });
    const header = { alg: ALGORITHM, typ: TYPE, kid: keyId };
    return { sign: (payload) => new SignJWT({ ...payload }).setProtectedHeader(header).sign(key) };
  },

  verifier(keys) {
    const byId = new Map(keys.map((key) => [key.id, publicKey(key)]));
    const keyFor = ({ kid }: { readonly kid?: string | undefined }): KeyObject => {
      const key = kid === undefined ? undefined : byId.get(kid);
      if (!key) throw new Error('unknown key');
      return key;
    };
    return {
      async verify(token, { issuer, now }) {
        if (token.length > MAX_TOKEN_LENGTH) return undefined;
        try {
          const { payload } = await jwtVerify(token, keyFor, {
            algorithms: [ALGORITHM],
            typ: TYPE,
            issuer,
            currentDate: new Date(now),
            clockTolerance: 0,
          });
          return payloadOf(payload);
        } catch {
          return undefined;
        }
      },
    };
  },
};

function publicKey(key: PublicKey): KeyObject {
  return createPublicKey({ key: JSON.parse(key.publicJwk) as webcrypto.JsonWebKey, format: 'jwk' });
}

/** A signed token of our own can still be of another layout; only the exact shape counts. */
function payloadOf(claims: Readonly<Record<string, unknown>>): ReceiptPayload | undefined {
  const text = (name: string) => typeof claims[name] === 'string';
  const optionalText = (name: string) => claims[name] === undefined || text(name);
  const seconds = (name: string) => Number.isSafeInteger(claims[name]);
  const amr = claims['amr'];
  const whole =
    ['iss', 'aud', 'sub', 'jti', 'realm', 'cid', 'purpose', 'act', 'acr', 'apr'].every(text) &&
    ['sid', 'mth'].every(optionalText) &&
    ['iat', 'exp'].every(seconds) &&
    Array.isArray(amr) &&
    amr.every((value) => typeof value === 'string');
  return whole ? (claims as unknown as ReceiptPayload) : undefined;
}
