import type { Challenge } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import type { Method } from '#src/domain/method.ts';
import type { EpochMs } from '#src/domain/time.ts';
import { resynchronize, stepAt, verifyTotp } from '#src/domain/totp.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { Proof, ProofChecker, ProofVerdict } from '../challenges/proof.ts';
import type { BackupCodeSets } from './backup-code-sets.ts';
import type { TotpSeeds } from './totp-seeds.ts';

export interface ProofCheckOptions {
  /** Steps to either side that a TOTP code may be off: 1, or 0 for `strict`. */
  readonly totpWindow: number;
  /** Steps to either side that two consecutive codes are searched in; 0 forbids resynchronisation. */
  readonly resyncReach: number;
}

export interface ProofCheckDependencies extends ProofCheckOptions {
  readonly factors: Pick<FactorStore, 'list'>;
  readonly seeds: TotpSeeds;
  readonly backupCodes: BackupCodeSets;
  readonly log: Log;
}

type TotpProof = Extract<Proof, { readonly kind: 'totp' }>;

const WRONG: ProofVerdict = { outcome: 'wrong' };
const NOBODY = { realm: '', subject: '' };
/** Far enough from 0 that every search has its full reach. */
const SOME_INSTANT: EpochMs = 1_000_000_000_000;

/** Checks TOTP codes and backup codes against the factors that the challenge offers and the person still has. */
export class FactorProofChecker implements ProofChecker {
  readonly #deps: ProofCheckDependencies;
  /** Stands in where there is no factor, so that it takes as long. */
  readonly #nobody: Factor;

  constructor(deps: ProofCheckDependencies) {
    this.#deps = deps;
    const row = { ...NOBODY, id: '' };
    this.#nobody = {
      ...row,
      method: 'totp',
      displayName: '',
      state: 'PENDING',
      sealedSecret: deps.seeds.make(row).sealed,
      lastStep: -1,
      driftSteps: 0,
      replaces: '',
      createdAt: 0,
      expiresAt: 0,
      codesLeft: 0,
    };
  }

  async check(challenge: Challenge, proof: Proof, now: EpochMs): Promise<ProofVerdict> {
    switch (proof.kind) {
      case 'totp':
        return this.#totp(await this.#offered(challenge, 'totp', now), proof, now);
      case 'backup_code':
        return this.#backupCode(challenge, proof.code);
      case 'sms':
      case 'push':
      case 'webauthn':
        // No challenge offers these yet.
        return WRONG;
    }
  }

  async imitate(proof: Proof): Promise<void> {
    if (proof.kind === 'backup_code') {
      await this.#deps.backupCodes.find(NOBODY.realm, NOBODY.subject, proof.code);
    } else if (proof.kind === 'totp') {
      await this.#deps.factors.list(NOBODY.realm, NOBODY.subject, SOME_INSTANT);
      this.#totp([], proof, SOME_INSTANT);
    }
  }

  async #offered(challenge: Challenge, method: Method, now: EpochMs): Promise<readonly Factor[]> {
    const offered = new Set(challenge.offers.filter((offer) => offer.method === method).map((offer) => offer.factorId));
    const held = await this.#deps.factors.list(challenge.realm, challenge.subject, now);
    return held.filter((factor) => factor.method === method && factor.state === 'ACTIVE' && offered.has(factor.id));
  }

  #totp(factors: readonly Factor[], proof: TotpProof, now: EpochMs): ProofVerdict {
    const verdicts = (factors.length > 0 ? factors : [this.#nobody]).map((factor) => this.#against(factor, proof, now));
    // Both stand-in and second look are worked through, but only a factor of the person counts.
    if (factors.length === 0) return WRONG;
    return (
      verdicts.find(({ outcome }) => outcome === 'right') ??
      verdicts.find(({ outcome }) => outcome === 'replayed') ??
      WRONG
    );
  }

  #against(factor: Factor, proof: TotpProof, now: EpochMs): ProofVerdict {
    const { seeds, totpWindow, resyncReach, log } = this.#deps;
    const secret = seeds.open(factor);
    const right = (step: number, driftSteps: number) =>
      ({
        outcome: 'right',
        claim: { kind: 'totp', factorId: factor.id, step, driftSteps },
        method: 'totp',
        factorId: factor.id,
      }) as const;
    if (proof.nextCode !== '') {
      const { code, nextCode } = proof;
      const search = { secret, code, nextCode, now, reach: resyncReach };
      const found = resynchronize({ ...search, afterStep: factor.lastStep });
      if (found) return { ...right(found.step, found.driftSteps), resynchronized: true };
      return resynchronize({ ...search, afterStep: -1 }) ? { outcome: 'replayed' } : WRONG;
    }
    const { driftSteps, lastStep } = factor;
    if (lastStep > stepAt(now) + driftSteps + totpWindow) {
      log.error('the clock is behind the last accepted time step of a factor', { factorId: factor.id });
    }
    const check = { secret, code: proof.code, now, driftSteps, window: totpWindow };
    const matched = verifyTotp({ ...check, afterStep: lastStep });
    // Without the last step it tells a used code from a wrong one, and is done for wrong ones as well.
    const before = verifyTotp({ ...check, afterStep: -1 });
    if (matched) return right(matched.step, driftSteps);
    return before ? { outcome: 'replayed' } : WRONG;
  }

  async #backupCode(challenge: Challenge, typed: string): Promise<ProofVerdict> {
    const found = await this.#deps.backupCodes.find(challenge.realm, challenge.subject, typed);
    const offered = challenge.offers.some(
      (offer) => offer.method === 'backup_code' && offer.factorId === found?.factorId,
    );
    if (!found || !offered) return WRONG;
    return {
      outcome: 'right',
      claim: { kind: 'backup_code', ...found },
      method: 'backup_code',
      factorId: found.factorId,
    };
  }
}
