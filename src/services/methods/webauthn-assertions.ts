import type { Caller } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { isUsable } from '#src/domain/method-offer.ts';
import type { EpochMs } from '#src/domain/time.ts';
import { counterRegressed } from '#src/domain/webauthn-counter.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { WebAuthn, WebAuthnRefusal } from '#src/ports/webauthn.ts';
import { eventFields } from '../challenges/challenge-endings.ts';
import { methodNotOffered } from '../challenges/method-not-offered.ts';
import type { Proof, ProofVerdict } from '../challenges/proof.ts';
import type { Trail } from '../trail.ts';
import type { ChallengeMethod, PromptView } from './contract.ts';
import type { WebAuthnCredentials } from './webauthn-credentials.ts';
import type { CeremonyNonces, NonceBearer } from './webauthn-nonces.ts';

export interface WebAuthnAssertionOptions {
  /** Also where the action is not critical. */
  readonly alwaysVerifyUser: boolean;
  /** Accepts a counter that did not grow, with an event, where the action is not critical. */
  readonly acceptRegression: boolean;
}

export interface WebAuthnAssertionDependencies {
  readonly options: WebAuthnAssertionOptions;
  readonly webauthn: WebAuthn;
  readonly nonces: CeremonyNonces;
  readonly credentials: WebAuthnCredentials;
  readonly factors: Pick<FactorStore, 'list'>;
  readonly trail: Trail;
  readonly log: Log;
  readonly clock: Clock;
  readonly random: Random;
}

/** Answers to challenges by a passkey or security key (W3C WebAuthn Level 3 section 7.2). */
export class WebAuthnAssertions implements ChallengeMethod {
  readonly method = 'webauthn';
  readonly #deps: WebAuthnAssertionDependencies;

  constructor(deps: WebAuthnAssertionDependencies) {
    this.#deps = deps;
  }

  /**
   * Any of the person's keys that the challenge offers will do, the chosen one first. Each prompt is good for one answer,
   * right or wrong, and voids the one before.
   */
  async prompt(_caller: Caller, challenge: Challenge, factor: Factor): Promise<PromptView> {
    const { nonces, clock } = this.#deps;
    const keys = await this.#keys(challenge, factor);
    if (keys.length === 0) throw methodNotOffered(challenge, 'webauthn');
    return this.#view(challenge, factor, keys, await nonces.make(bearerOf(challenge, factor.id), clock.now()));
  }

  /** A challenge like any other, which is kept nowhere. */
  async pretend(challenge: Challenge, factor: Factor): Promise<PromptView> {
    return this.#view(challenge, factor, await this.#keys(challenge, factor), this.#deps.random.bytes(32));
  }

  async check(challenge: Challenge, factors: readonly Factor[], proof: Proof, now: EpochMs): Promise<ProofVerdict> {
    if (proof.kind !== 'webauthn') return { outcome: 'wrong' };
    const { webauthn, nonces, credentials } = this.#deps;
    const signed = await nonces.take(bearerOf(challenge, ''), now);
    if (!signed) return this.#refuse(challenge, 'CHALLENGE');
    const id = webauthn.credentialIdOf(proof.credentialJson);
    if (id === undefined) return this.#refuse(challenge, 'MALFORMED');
    const { realm, subject } = challenge;
    const digest = credentials.digestOf(realm, id);
    const factor = factors.find(({ uniqueDigest }) => uniqueDigest && Buffer.compare(uniqueDigest, digest) === 0);
    if (!factor) return this.#refuse(challenge, 'CREDENTIAL_ID');
    const verdict = await webauthn.verifyAssertion({
      json: proof.credentialJson,
      challenge: signed,
      credential: credentials.open(factor),
      userHandle: credentials.userHandle(realm, subject),
      requireUserVerification: this.#mustVerifyUser(challenge),
    });
    if (verdict.outcome === 'refused') return this.#refuse(challenge, verdict.refusal, factor);
    return this.#counted(challenge, factor, verdict.signCount);
  }

  async imitate(proof: Proof): Promise<void> {
    if (proof.kind !== 'webauthn') return;
    await this.#deps.nonces.imitate();
    this.#deps.webauthn.credentialIdOf(proof.credentialJson);
  }

  /** A race between two copies of a key is decided by the claim; this is the one that is seen before. */
  async #counted(challenge: Challenge, factor: Factor, signCount: number): Promise<ProofVerdict> {
    const stored = factor.signCount ?? 0;
    const regressed = counterRegressed(stored, signCount);
    const accepted = !regressed || (this.#deps.options.acceptRegression && challenge.sensitivity !== 'critical');
    if (regressed) await this.#alarm(challenge, factor, { stored, shown: signCount, accepted });
    if (!accepted) return this.#refuse(challenge, 'COUNTER', factor);
    return {
      outcome: 'right',
      claim: { kind: 'webauthn', factorId: factor.id, signCount, anyCounter: regressed },
      method: 'webauthn',
      factorId: factor.id,
    };
  }

  async #alarm(
    challenge: Challenge,
    factor: Factor,
    counter: { readonly stored: number; readonly shown: number; readonly accepted: boolean },
  ): Promise<void> {
    const { trail, log } = this.#deps;
    const { stored, shown, accepted } = counter;
    log.error('the counter of a security key did not grow: the key may have been copied', {
      factorId: factor.id,
      challengeId: challenge.id,
      accepted,
    });
    const event = trail.draft('factor.counter_regressed', undefined, {
      ...eventFields(challenge),
      outcome: accepted ? 'INFO' : 'REFUSED',
      reason: 'COUNTER',
      method: 'webauthn',
      factorId: factor.id,
      facts: { stored: String(stored), shown: String(shown) },
    });
    // What is accepted in spite of it is accepted once that is written down.
    if (accepted) await trail.append(event);
    else trail.refused(event);
  }

  async #view(challenge: Challenge, factor: Factor, keys: readonly Factor[], signed: Uint8Array): Promise<PromptView> {
    const { webauthn, credentials, clock } = this.#deps;
    const webauthnOptionsJson = await webauthn.requestOptions({
      challenge: signed,
      allow: keys.map((key) => credentials.open(key)),
      requireUserVerification: this.#mustVerifyUser(challenge),
      timeoutMs: Math.max(0, challenge.expiresAt - clock.now()),
    });
    return { method: 'webauthn', factorId: factor.id, webauthnOptionsJson };
  }

  async #keys(challenge: Challenge, first: Factor): Promise<readonly Factor[]> {
    const { factors, clock } = this.#deps;
    const offered = new Set(challenge.offers.map(({ factorId }) => factorId));
    const held = await factors.list(challenge.realm, challenge.subject, clock.now());
    const keys = held.filter((key) => key.method === 'webauthn' && isUsable(key) && offered.has(key.id));
    return [...keys.filter(({ id }) => id === first.id), ...keys.filter(({ id }) => id !== first.id)];
  }

  #mustVerifyUser({ sensitivity }: Challenge): boolean {
    return this.#deps.options.alwaysVerifyUser || sensitivity === 'critical';
  }

  /** A counter that stands still is a proof that was used before, as the claim says of one that loses a race. */
  #refuse(challenge: Challenge, refusal: WebAuthnRefusal, factor?: Factor): ProofVerdict {
    const about = { challengeId: challenge.id, ...(factor ? { factorId: factor.id } : {}), refusal };
    this.#deps.log.info('an assertion of a security key was refused', about);
    return refusal === 'COUNTER' ? { outcome: 'replayed' } : { outcome: 'wrong', refusal };
  }
}

function bearerOf({ realm, subject, id, actionDigest, expiresAt }: Challenge, factorId: string): NonceBearer {
  return { purpose: 'assert', realm, subject, bearerId: id, actionDigest, factorId, expiresAt };
}
