import type { Caller } from '#src/domain/caller.ts';
import type { Factor } from '#src/domain/factor.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { WebAuthn, WebAuthnRefusal } from '#src/ports/webauthn.ts';
import type {
  EnrollmentInput,
  EnrollmentMaterial,
  EnrollmentMethod,
  EnrollmentProof,
  EnrollmentVerdict,
  PreparedFactor,
} from './contract.ts';
import type { WebAuthnCredentials } from './webauthn-credentials.ts';
import type { CeremonyNonces, NonceBearer } from './webauthn-nonces.ts';

export interface WebAuthnRegistrationDependencies {
  readonly webauthn: WebAuthn;
  readonly nonces: CeremonyNonces;
  readonly credentials: WebAuthnCredentials;
  readonly factors: Pick<FactorStore, 'list'>;
  readonly log: Log;
  readonly clock: Clock;
}

/** For whoever integrates: what to look at. */
const MEANING: Readonly<Record<WebAuthnRefusal, string>> = {
  MALFORMED: 'is no RegistrationResponseJSON',
  TYPE: 'is no registration',
  CHALLENGE: 'answers no options that stand; begin again for new ones',
  ORIGIN: 'comes from an origin that webauthn.origins does not list',
  CROSS_ORIGIN: 'comes from a frame of a site that webauthn.top_origins does not list',
  RP_ID: 'is for another domain than webauthn.rp_id',
  USER_NOT_PRESENT: 'was made without the person',
  USER_NOT_VERIFIED: 'was made without verifying the person',
  BACKUP_STATE: 'contradicts itself about its backup',
  ALGORITHM: 'has a key of a kind that was not asked for',
  ATTESTATION: 'has an attestation that does not hold or was not asked for',
  CREDENTIAL_ID: 'has an id that is too long or not its own',
  SIGNATURE: 'has a wrong signature',
  COUNTER: 'has a counter that does not grow',
};

/** Enrols passkeys and security keys (W3C WebAuthn Level 3 section 7.1). */
export class WebAuthnRegistrations implements EnrollmentMethod {
  readonly method = 'webauthn';
  readonly guessable = false;
  readonly #deps: WebAuthnRegistrationDependencies;

  constructor(deps: WebAuthnRegistrationDependencies) {
    this.#deps = deps;
  }

  /** The browser makes the credential; until then there is none. */
  async prepare(): Promise<PreparedFactor> {
    return { sealedSecret: new Uint8Array(), displayName: 'Security key' };
  }

  /**
   * A repeat shows the options that stand, so that asking twice voids nothing; once they were answered, rightly or not, it
   * makes new ones.
   */
  async material(
    _caller: Caller,
    factor: Factor,
    input: EnrollmentInput,
    repeat: boolean,
  ): Promise<EnrollmentMaterial> {
    const { webauthn, nonces, credentials, clock } = this.#deps;
    const now = clock.now();
    const bearer = bearerOf(factor);
    const challenge = (repeat ? await nonces.standing(bearer, now) : undefined) ?? (await nonces.make(bearer, now));
    const optionsJson = await webauthn.creationOptions({
      challenge,
      userHandle: credentials.userHandle(factor.realm, factor.subject),
      userName: input.accountName,
      exclude: await this.#held(factor, now),
      timeoutMs: Math.max(0, factor.expiresAt - now),
    });
    return { kind: 'webauthn', optionsJson };
  }

  async check(factor: Factor, proof: EnrollmentProof, now: EpochMs): Promise<EnrollmentVerdict> {
    if (proof.kind !== 'webauthn') return wrong('MALFORMED');
    const { webauthn, nonces, credentials, log } = this.#deps;
    const challenge = await nonces.take(bearerOf(factor), now);
    if (!challenge) return wrong('CHALLENGE');
    const made = await webauthn.verifyRegistration({ json: proof.credentialJson, challenge });
    if (made.outcome === 'refused') {
      log.info('a registration of a security key was refused', { factorId: factor.id, refusal: made.refusal });
      return wrong(made.refusal);
    }
    return {
      outcome: 'right',
      proof: {
        kind: 'made',
        sealedSecret: credentials.seal(factor, made.credential),
        uniqueDigest: credentials.digestOf(factor.realm, made.credential.id),
        signCount: made.signCount,
      },
    };
  }

  /** What the person has already, but for the one that is replaced: its authenticator may be enrolled anew. */
  async #held({ realm, subject, replaces }: Factor, now: EpochMs): Promise<readonly string[]> {
    const { factors, credentials } = this.#deps;
    const held = await factors.list(realm, subject, now);
    return held
      .filter(({ id, method, state }) => method === 'webauthn' && state === 'ACTIVE' && id !== replaces)
      .map((factor) => credentials.open(factor).id);
  }
}

function bearerOf({ realm, subject, id, expiresAt }: Factor): NonceBearer {
  return { purpose: 'register', realm, subject, bearerId: id, actionDigest: '', factorId: id, expiresAt };
}

function wrong(refusal: WebAuthnRefusal): EnrollmentVerdict {
  return { outcome: 'wrong', field: 'webauthn_credential_json', description: MEANING[refusal] };
}
