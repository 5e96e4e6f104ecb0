import type { Challenge } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { isUsable } from '#src/domain/method-offer.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import { isGuess, type Proof, type ProofChecker, type ProofVerdict } from '../challenges/proof.ts';
import type { MethodRegistry } from '../methods/registry.ts';

export interface ProofCheckDependencies {
  readonly factors: Pick<FactorStore, 'list'>;
  readonly methods: MethodRegistry;
}

/** Has proofs checked by their methods, against the factors that the challenge offers and the person still can use. */
export class FactorProofChecker implements ProofChecker {
  readonly #deps: ProofCheckDependencies;

  constructor(deps: ProofCheckDependencies) {
    this.#deps = deps;
  }

  async isGuess(challenge: Challenge, proof: Proof, now: EpochMs): Promise<boolean> {
    const method = this.#deps.methods.challenge(proof.kind);
    if (!method?.isGuess) return isGuess(proof);
    return method.isGuess(challenge, await this.#offered(challenge, proof, now), proof);
  }

  async check(challenge: Challenge, proof: Proof, now: EpochMs): Promise<ProofVerdict> {
    const method = this.#deps.methods.challenge(proof.kind);
    if (!method) return { outcome: 'wrong' };
    return method.check(challenge, await this.#offered(challenge, proof, now), proof, now);
  }

  async imitate(proof: Proof): Promise<void> {
    await this.#deps.factors.list('', '', 0);
    await this.#deps.methods.challenge(proof.kind)?.imitate(proof);
  }

  async #offered(challenge: Challenge, { kind }: Proof, now: EpochMs): Promise<readonly Factor[]> {
    const offered = new Set(challenge.offers.filter(({ method }) => method === kind).map(({ factorId }) => factorId));
    const held = await this.#deps.factors.list(challenge.realm, challenge.subject, now);
    return held.filter((factor) => factor.method === kind && isUsable(factor) && offered.has(factor.id));
  }
}
