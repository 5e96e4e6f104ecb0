import type { Caller } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { methodNotOffered } from '../challenges/method-not-offered.ts';
import type { Proof, ProofVerdict } from '../challenges/proof.ts';
import type { BackupCodeSets } from '../factors/backup-code-sets.ts';
import type { ChallengeMethod, MethodParts, PromptView } from './contract.ts';

/** Recovery codes. They come with the first factor and by RegenerateBackupCodes, never by BeginEnrollment. */
export function backupCodeParts(deps: { readonly backupCodes: BackupCodeSets }): MethodParts {
  return { challenge: new BackupCodeChallenges(deps.backupCodes) };
}

class BackupCodeChallenges implements ChallengeMethod {
  readonly method = 'backup_code';
  readonly #codes: BackupCodeSets;

  constructor(codes: BackupCodeSets) {
    this.#codes = codes;
  }

  /** The person has them on paper. */
  async prompt(_caller: Caller, challenge: Challenge, factor: Factor, again: boolean): Promise<PromptView> {
    if (again) throw methodNotOffered(challenge, 'backup_code');
    return { method: 'backup_code', factorId: factor.id };
  }

  async check({ realm, subject }: Challenge, factors: readonly Factor[], proof: Proof): Promise<ProofVerdict> {
    if (proof.kind !== 'backup_code') return { outcome: 'wrong' };
    const found = await this.#codes.find(realm, subject, proof.code);
    if (!found || !factors.some(({ id }) => id === found.factorId)) return { outcome: 'wrong' };
    return {
      outcome: 'right',
      claim: { kind: 'backup_code', ...found },
      method: 'backup_code',
      factorId: found.factorId,
    };
  }

  async imitate(proof: Proof): Promise<void> {
    if (proof.kind === 'backup_code') await this.#codes.find('', '', proof.code);
  }
}
