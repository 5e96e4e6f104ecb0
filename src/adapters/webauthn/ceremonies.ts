import { createHash } from 'node:crypto';
import type { WebAuthn, WebAuthnCredential, WebAuthnRefusal } from '#src/ports/webauthn.ts';
import { checkAttestation } from './attestation.ts';
import { checkAuthenticatorData } from './authenticator-data.ts';
import {
  type AssertionAnswer,
  type RegistrationAnswer,
  readAssertion,
  readCredentialId,
  readRegistration,
} from './browser-answer.ts';
import { checkClientData } from './client-data.ts';
import { ALGORITHMS, checkCredentialKey } from './credential-key.ts';
import { demand, Refused } from './refused.ts';

async function load() {
  return (await import('./library.ts')).library;
}
type Library = Awaited<ReturnType<typeof load>>;
type RegistrationInput = Parameters<WebAuthn['verifyRegistration']>[0];
type AssertionInput = Parameters<WebAuthn['verifyAssertion']>[0];
type Registered = { readonly credential: WebAuthnCredential; readonly signCount: number };
type Asserted = { readonly signCount: number; readonly userVerified: boolean };

export interface CeremonyOptions {
  /** Domain that credentials belong to. */
  readonly rpId: string;
  /** Shown by browsers. */
  readonly rpName: string;
  /** Origins that ceremonies may come from, exactly as browsers write them. */
  readonly origins: readonly string[];
  /** Origins that may embed one of `origins` in a frame. */
  readonly topOrigins: readonly string[];
}

/**
 * WebAuthn by @simplewebauthn/server, which is loaded with the first use. Every step that has a refusal of its own is
 * checked here first, and the library checks it again: its errors are texts, it lets cross-origin frames pass, picks
 * algorithms by itself, and says "not verified" for some wrong signatures and throws for others.
 */
export class Ceremonies implements WebAuthn {
  readonly #options: CeremonyOptions;
  readonly #rpIdHash: Uint8Array;
  #library: Promise<Library> | undefined;

  constructor(options: CeremonyOptions) {
    this.#options = options;
    this.#rpIdHash = createHash('sha256').update(options.rpId, 'utf8').digest();
  }

  async creationOptions(input: Parameters<WebAuthn['creationOptions']>[0]): Promise<string> {
    const { rpId, rpName } = this.#options;
    const library = await this.#load();
    const options = await library.generateRegistrationOptions({
      rpID: rpId,
      rpName,
      challenge: Uint8Array.from(input.challenge),
      userID: Uint8Array.from(input.userHandle),
      userName: input.userName,
      userDisplayName: input.userName,
      timeout: input.timeoutMs,
      attestationType: 'none',
      excludeCredentials: input.exclude.map((id) => ({ id })),
      // A second factor is always named in `allowCredentials`: it need not fill a slot of a security key.
      authenticatorSelection: { residentKey: 'discouraged', userVerification: 'preferred' },
      supportedAlgorithmIDs: [...ALGORITHMS],
    });
    return JSON.stringify(options);
  }

  async requestOptions(input: Parameters<WebAuthn['requestOptions']>[0]): Promise<string> {
    const library = await this.#load();
    const options = await library.generateAuthenticationOptions({
      rpID: this.#options.rpId,
      challenge: Uint8Array.from(input.challenge),
      allowCredentials: input.allow.map(({ id, transports }) => ({ id, transports: [...transports] })),
      userVerification: input.requireUserVerification ? 'required' : 'preferred',
      timeout: input.timeoutMs,
    });
    return JSON.stringify(options);
  }

  async verifyRegistration(input: RegistrationInput): ReturnType<WebAuthn['verifyRegistration']> {
    const library = await this.#load();
    return settle(() => this.#registered(library, input));
  }

  async verifyAssertion(input: AssertionInput): ReturnType<WebAuthn['verifyAssertion']> {
    const library = await this.#load();
    return settle(() => this.#asserted(library, input));
  }

  credentialIdOf(json: string): string | undefined {
    return readCredentialId(json);
  }

  async #registered(library: Library, { json, challenge }: RegistrationInput): Promise<Registered> {
    const { origins, topOrigins, rpId } = this.#options;
    const answer = readRegistration(json);
    checkClientData(answer.clientDataJSON, { type: 'webauthn.create', challenge, origins, topOrigins });
    const { format, statement, data } = readAttestation(library, answer);
    checkAuthenticatorData(data, { rpIdHash: this.#rpIdHash, requireUserVerification: false });
    const { credentialID, credentialPublicKey, flags } = data;
    demand(credentialID !== undefined && credentialPublicKey !== undefined, 'MALFORMED');
    demand(credentialID.length > 0 && Buffer.from(credentialID).toString('base64url') === answer.id, 'CREDENTIAL_ID');
    const algorithm = checkCredentialKey(decodeKey(library, credentialPublicKey));
    checkAttestation(format, statement, algorithm);
    const verified = await library
      .verifyRegistrationResponse({
        response: {
          id: answer.id,
          rawId: answer.id,
          type: 'public-key',
          clientExtensionResults: {},
          response: { clientDataJSON: answer.clientDataJSON, attestationObject: answer.attestationObject },
        },
        expectedChallenge: Buffer.from(challenge).toString('base64url'),
        expectedOrigin: [...origins],
        expectedRPID: rpId,
        requireUserPresence: true,
        requireUserVerification: false,
        supportedAlgorithmIDs: [...ALGORITHMS],
      })
      // All else was looked at above, so what it throws is about the attestation.
      .catch(() => ({ verified: false }) as const);
    demand(verified.verified, 'ATTESTATION');
    const { id, publicKey, counter } = verified.registrationInfo.credential;
    return {
      credential: { id, publicKey, transports: answer.transports, backupEligible: flags.be },
      signCount: counter,
    };
  }

  async #asserted(library: Library, input: AssertionInput): Promise<Asserted> {
    const { origins, topOrigins, rpId } = this.#options;
    const { json, challenge, credential, requireUserVerification } = input;
    const answer = readAssertion(json);
    demand(answer.id === credential.id && agrees(answer, input.userHandle), 'CREDENTIAL_ID');
    checkClientData(answer.clientDataJSON, { type: 'webauthn.get', challenge, origins, topOrigins });
    const data = readData(library, Buffer.from(answer.authenticatorData, 'base64url'));
    const { backupEligible } = credential;
    checkAuthenticatorData(data, { rpIdHash: this.#rpIdHash, requireUserVerification, backupEligible });
    checkCredentialKey(decodeKey(library, credential.publicKey));
    const { clientDataJSON, authenticatorData, signature } = answer;
    const verified = await library
      .verifyAuthenticationResponse({
        response: {
          id: answer.id,
          rawId: answer.id,
          type: 'public-key',
          clientExtensionResults: {},
          response: { clientDataJSON, authenticatorData, signature },
        },
        expectedChallenge: Buffer.from(challenge).toString('base64url'),
        expectedOrigin: [...origins],
        expectedTopOrigin: [...topOrigins],
        expectedRPID: rpId,
        requireUserVerification,
        // Whether the counter grew is decided with the store's step.
        credential: { id: credential.id, publicKey: Uint8Array.from(credential.publicKey), counter: 0 },
      })
      // All else was looked at above, so what it throws is about the signature.
      .catch(() => ({ verified: false }));
    demand(verified.verified, 'SIGNATURE');
    return { signCount: data.counter, userVerified: data.flags.uv };
  }

  /** A load that failed is tried again with the next use. */
  #load(): Promise<Library> {
    this.#library ??= load().catch((error: unknown) => {
      this.#library = undefined;
      throw error;
    });
    return this.#library;
  }
}

type Outcome<T> =
  | (T & { readonly outcome: 'right' })
  | { readonly outcome: 'refused'; readonly refusal: WebAuthnRefusal };

async function settle<T extends object>(look: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { outcome: 'right', ...(await look()) };
  } catch (error) {
    // What nobody thought of is no proof either.
    return { outcome: 'refused', refusal: error instanceof Refused ? error.refusal : 'MALFORMED' };
  }
}

function readAttestation(library: Library, { attestationObject }: RegistrationAnswer) {
  const decoded = read(() =>
    library.decodeAttestationObject(Uint8Array.from(Buffer.from(attestationObject, 'base64url'))),
  );
  demand(decoded instanceof Map, 'MALFORMED');
  const format: unknown = decoded.get('fmt');
  const statement: unknown = decoded.get('attStmt');
  const data: unknown = decoded.get('authData');
  demand(data instanceof Uint8Array, 'MALFORMED');
  return { format, statement, data: readData(library, data) };
}

function readData(library: Library, bytes: Uint8Array) {
  return read(() => library.parseAuthenticatorData(Uint8Array.from(bytes)));
}

function decodeKey(library: Library, bytes: Uint8Array): unknown {
  return read(() => library.decodeCredentialPublicKey(Uint8Array.from(bytes)));
}

function read<T>(decode: () => T): T {
  try {
    return decode();
  } catch {
    throw new Refused('MALFORMED');
  }
}

function agrees({ userHandle }: AssertionAnswer, expected: Uint8Array): boolean {
  return userHandle === undefined || Buffer.compare(userHandle, expected) === 0;
}
