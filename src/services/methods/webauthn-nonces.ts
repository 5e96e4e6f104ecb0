import type { EpochMs } from '#src/domain/time.ts';
import { type Ceremony, ceremonyChallenge, NONCE_BYTES } from '#src/domain/webauthn-challenge.ts';
import type { IssuedCode, IssuedCodes } from '#src/ports/issued-codes.ts';
import type { KeyedDigest, Random, SecretBox } from '#src/ports/runtime.ts';

export interface WebAuthnNonceDependencies {
  readonly codes: IssuedCodes;
  readonly box: SecretBox;
  readonly digest: KeyedDigest;
  readonly random: Random;
}

/** What a ceremony is for: a challenge with its action, or a pending factor. */
export interface NonceBearer extends Omit<Ceremony, 'nonce'> {
  readonly factorId: string;
  readonly expiresAt: EpochMs;
}

export type CeremonyNonces = Pick<WebAuthnNonces, 'make' | 'standing' | 'take' | 'imitate'>;

/**
 * The random parts of ceremonies, kept sealed until they are used, once. What the authenticator signs is worked out anew
 * from the bearer's own row, so an answer fits no other action than the one that stands there.
 */
export class WebAuthnNonces {
  readonly #deps: WebAuthnNonceDependencies;

  constructor(deps: WebAuthnNonceDependencies) {
    this.#deps = deps;
  }

  /** A new `challenge` for the browser; answers to older ones of the same bearer are worth nothing from now on. */
  async make(bearer: NonceBearer, now: EpochMs): Promise<Uint8Array> {
    const { codes, box, digest, random } = this.#deps;
    const { realm, subject, bearerId, factorId, expiresAt } = bearer;
    const nonce = random.bytes(NONCE_BYTES);
    const challenge = ceremonyChallenge({ ...bearer, nonce });
    await codes.issue({
      realm,
      subject,
      bearerId,
      method: 'webauthn',
      factorId,
      digest: digest.digest('webauthn.challenge', challenge),
      sealed: box.seal(nonce, bindingOf(bearer)),
      issuedAt: now,
      expiresAt,
    });
    return challenge;
  }

  /** The `challenge` that stands, to be shown again; undefined when there is none, or it was used. */
  async standing(bearer: NonceBearer, now: EpochMs): Promise<Uint8Array | undefined> {
    return this.#challenge(bearer, await this.#deps.codes.read(bearer.realm, bearer.bearerId, 'webauthn', now));
  }

  /** The `challenge` that an answer has to be to, used up whatever comes of it. Of parallel callers one gets it. */
  async take(bearer: NonceBearer, now: EpochMs): Promise<Uint8Array | undefined> {
    return this.#challenge(bearer, await this.#deps.codes.take(bearer.realm, bearer.bearerId, 'webauthn', now));
  }

  /** What `take` does where there is nothing to take. */
  async imitate(): Promise<void> {
    await this.#deps.codes.take('', '', 'webauthn', 0);
  }

  #challenge(bearer: NonceBearer, code: IssuedCode | undefined): Uint8Array | undefined {
    if (code?.subject !== bearer.subject) return undefined;
    return ceremonyChallenge({ ...bearer, nonce: this.#deps.box.open(code.sealed, bindingOf(bearer)) });
  }
}

function bindingOf({ purpose, realm, subject, bearerId }: NonceBearer) {
  return { purpose: `webauthn.${purpose}`, realm, subject, id: bearerId };
}
