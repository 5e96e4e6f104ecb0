import { readFileSync } from 'node:fs';
import type { WebAuthnRefusal } from '#src/ports/webauthn.ts';

interface VectorFile {
  readonly vectors: readonly {
    readonly name: string;
    readonly rpId: string;
    readonly origin: string;
    readonly topOrigin: string | null;
    readonly registration: Readonly<
      Record<'challenge' | 'credentialId' | 'clientDataJSON' | 'attestationObject', string>
    >;
    readonly authentication: Readonly<
      Record<'challenge' | 'clientDataJSON' | 'authenticatorData' | 'signature', string>
    >;
  }[];
}

/** One pair of the specification, as a browser would send it. */
export interface CeremonyVector {
  readonly name: string;
  readonly rpId: string;
  readonly origin: string;
  readonly topOrigin: string | undefined;
  readonly registration: { readonly challenge: Uint8Array; readonly json: string };
  readonly authentication: { readonly challenge: Uint8Array; readonly json: string };
}

/** Chapter Test Vectors of W3C WebAuthn Level 3: see test/fixtures/README.md. */
export function ceremonyVectors(): readonly CeremonyVector[] {
  const file: VectorFile = JSON.parse(
    readFileSync(new URL('../fixtures/webauthn-vectors.json', import.meta.url), 'utf8'),
  );
  return file.vectors.map(({ name, rpId, origin, topOrigin, registration, authentication }) => {
    const id = spelled(registration.credentialId);
    const answer = (response: Readonly<Record<string, string>>) =>
      JSON.stringify({ id, rawId: id, type: 'public-key', clientExtensionResults: {}, response });
    return {
      name,
      rpId,
      origin,
      topOrigin: topOrigin ?? undefined,
      registration: {
        challenge: Buffer.from(registration.challenge, 'hex'),
        json: answer({
          clientDataJSON: spelled(registration.clientDataJSON),
          attestationObject: spelled(registration.attestationObject),
        }),
      },
      authentication: {
        challenge: Buffer.from(authentication.challenge, 'hex'),
        json: answer({
          clientDataJSON: spelled(authentication.clientDataJSON),
          authenticatorData: spelled(authentication.authenticatorData),
          signature: spelled(authentication.signature),
        }),
      },
    };
  });
}

/** Why each vector's registration is refused; the others are accepted. */
export const REFUSED_VECTORS: Readonly<Record<string, WebAuthnRefusal>> = {
  'none-es256-crossOrigin': 'CROSS_ORIGIN',
  'none-es256-topOrigin': 'CROSS_ORIGIN',
  'packed-es384': 'ALGORITHM',
  'packed-es512': 'ALGORITHM',
  'packed-ed448': 'ALGORITHM',
  'tpm-es256': 'ATTESTATION',
  'android-key-es256': 'ATTESTATION',
  'apple-es256': 'ATTESTATION',
  'fido-u2f-es256': 'ATTESTATION',
};

function spelled(hex: string): string {
  return Buffer.from(hex, 'hex').toString('base64url');
}
