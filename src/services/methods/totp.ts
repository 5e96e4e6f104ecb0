import type { Caller } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import type { EpochMs } from '#src/domain/time.ts';
import { resynchronize, stepAt, totpKeyUri, totpManualKey, verifyTotp } from '#src/domain/totp.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { methodNotOffered } from '../challenges/method-not-offered.ts';
import type { Proof, ProofVerdict } from '../challenges/proof.ts';
import type { TotpSeeds } from '../factors/totp-seeds.ts';
import type {
  ChallengeMethod,
  EnrollmentInput,
  EnrollmentMaterial,
  EnrollmentMethod,
  EnrollmentProof,
  EnrollmentVerdict,
  MethodParts,
  PreparedFactor,
  PromptView,
} from './contract.ts';

export interface TotpOptions {
  /** Shown in the authenticator; no colon. */
  readonly issuer: string;
  /** Steps to either side that a code may be off: 1, or 0 for `strict`. */
  readonly totpWindow: number;
  /** Steps to either side that two consecutive codes are searched in; 0 forbids resynchronisation. */
  readonly resyncReach: number;
}

export interface TotpDependencies extends TotpOptions {
  readonly seeds: TotpSeeds;
  readonly log: Log;
}

type TotpProof = Extract<Proof, { readonly kind: 'totp' }>;

const WRONG: ProofVerdict = { outcome: 'wrong' };
/** Far enough from 0 that every search has its full reach. */
const SOME_INSTANT: EpochMs = 1_000_000_000_000;

/** Codes from authenticator apps (RFC 6238). */
export function totpParts(deps: TotpDependencies): MethodParts {
  if (deps.issuer.includes(':')) throw new RangeError('the issuer shown in authenticators must not have a colon');
  return { challenge: new TotpChallenges(deps), enrollment: new TotpEnrollments(deps) };
}

class TotpChallenges implements ChallengeMethod {
  readonly method = 'totp';
  readonly #deps: TotpDependencies;
  /** Stands in where there is no factor, so that it takes as long. */
  readonly #nobody: Factor;

  constructor(deps: TotpDependencies) {
    this.#deps = deps;
    const row = { id: '', realm: '', subject: '' };
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

  /** The app makes the code by itself. */
  async prompt(_caller: Caller, challenge: Challenge, factor: Factor, again: boolean): Promise<PromptView> {
    if (again) throw methodNotOffered(challenge, 'totp');
    return { method: 'totp', factorId: factor.id };
  }

  async check(_challenge: Challenge, factors: readonly Factor[], proof: Proof, now: EpochMs): Promise<ProofVerdict> {
    return proof.kind === 'totp' ? this.#look(factors, proof, now) : WRONG;
  }

  async imitate(proof: Proof): Promise<void> {
    if (proof.kind === 'totp') this.#look([], proof, SOME_INSTANT);
  }

  #look(factors: readonly Factor[], proof: TotpProof, now: EpochMs): ProofVerdict {
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
}

class TotpEnrollments implements EnrollmentMethod {
  readonly method = 'totp';
  readonly guessable = true;
  readonly #deps: TotpDependencies;

  constructor(deps: TotpDependencies) {
    this.#deps = deps;
  }

  async prepare(row: Pick<Factor, 'id' | 'realm' | 'subject'>): Promise<PreparedFactor> {
    return { sealedSecret: this.#deps.seeds.make(row).sealed };
  }

  /** The seed is read from the row, so that it is gone for everybody once it is confirmed, replaced or lapsed. */
  async material(_caller: Caller, factor: Factor, { accountName }: EnrollmentInput): Promise<EnrollmentMaterial> {
    const { seeds, issuer } = this.#deps;
    const secret = seeds.open(factor);
    return {
      kind: 'totp',
      keyUri: totpKeyUri({ issuer, accountName, secret }),
      manualKey: totpManualKey(secret),
    };
  }

  async check(factor: Factor, proof: EnrollmentProof, now: EpochMs): Promise<EnrollmentVerdict> {
    const { driftSteps, lastStep } = factor;
    const matched =
      proof.kind === 'code'
        ? verifyTotp({
            secret: this.#deps.seeds.open(factor),
            code: proof.code,
            now,
            driftSteps,
            window: this.#deps.totpWindow,
            afterStep: lastStep,
          })
        : undefined;
    if (matched) return { outcome: 'right', proof: { kind: 'totp', step: matched.step, driftSteps } };
    return { outcome: 'wrong', field: 'code', description: 'is not the code that the authenticator shows now' };
  }
}
