import type { KeyedDigest, SecretBox } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { WebAuthnCredential } from '#src/ports/webauthn.ts';
import { type FactorRow, FactorSecrets, type SealedFactor } from './factor-secrets.ts';

/** As it is sealed; the key in base64url. */
interface StoredCredential extends Omit<WebAuthnCredential, 'publicKey'> {
  readonly publicKey: string;
}

/** Seals and opens registered credentials, and makes what stands for a credential and for its person. */
export class WebAuthnCredentials {
  readonly #secrets: FactorSecrets;
  readonly #digest: KeyedDigest;

  constructor(deps: { readonly box: SecretBox; readonly digest: KeyedDigest; readonly log: Log }) {
    this.#secrets = new FactorSecrets(deps);
    this.#digest = deps.digest;
  }

  seal(row: FactorRow, credential: WebAuthnCredential): Uint8Array {
    const stored: StoredCredential = {
      ...credential,
      publicKey: Buffer.from(credential.publicKey).toString('base64url'),
    };
    return this.#secrets.seal(row, Buffer.from(JSON.stringify(stored), 'utf8'));
  }

  /** Throws as FactorSecrets.open. */
  open(factor: SealedFactor): WebAuthnCredential {
    const plain = this.#secrets.open(factor);
    const stored: StoredCredential = JSON.parse(Buffer.from(plain).toString('utf8'));
    return { ...stored, publicKey: new Uint8Array(Buffer.from(stored.publicKey, 'base64url')) };
  }

  /** By which a credential is found, and known to be taken in the realm; its id is not kept in the clear. */
  digestOf(realm: string, credentialId: string): Uint8Array {
    return this.#digest.digest('webauthn.credential', `${realm}\n${credentialId}`);
  }

  /** What stands for the person in the authenticator: 32 bytes that say nothing (W3C WebAuthn Level 3 section 14.6.1). */
  userHandle(realm: string, subject: string): Uint8Array {
    return this.#digest.digest('webauthn.user', `${realm}\n${subject}`);
  }
}
