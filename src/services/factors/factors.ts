import type { BudgetLimits } from '#src/domain/failure-budget.ts';
import type { Policy } from '#src/domain/policy.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock, KeyedDigest, Random, SecretBox, SlowHash } from '#src/ports/runtime.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';
import type { ProofChecker } from '../challenges/proof.ts';
import type { ReceiptAuthority, SessionAuthority } from '../contracts.ts';
import type { Lanes } from '../lanes.ts';
import type { RequestClaims } from '../request-claims.ts';
import type { Trail } from '../trail.ts';
import { BackupCodeSets } from './backup-code-sets.ts';
import { Confirmation } from './confirmation.ts';
import { Enrollment, type EnrollmentOptions } from './enrollment.ts';
import { type FactorChangeDependencies, FactorChanges } from './factor-changes.ts';
import { type MfaStatus, readMfaStatus } from './mfa-status.ts';
import { FactorProofChecker, type ProofCheckOptions } from './proof-checker.ts';
import { TotpSeeds } from './totp-seeds.ts';

export interface FactorServiceOptions
  extends Omit<EnrollmentOptions, 'methods'>,
    ProofCheckOptions,
    Pick<FactorChangeDependencies, 'requiredMethods'> {
  readonly policy: Policy;
  readonly budget: BudgetLimits;
}

export interface FactorServiceDependencies {
  readonly options: FactorServiceOptions;
  readonly factors: FactorStore;
  readonly attempts: AttemptStore;
  readonly sessions: SessionAuthority;
  readonly receipts: ReceiptAuthority;
  readonly box: SecretBox;
  readonly digest: KeyedDigest;
  readonly slowHash: SlowHash;
  readonly claims: RequestClaims;
  /** The same that proofs of challenges queue in. */
  readonly lanes: Lanes;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** All that there is to factors. */
export interface FactorServices {
  readonly enrollment: Enrollment;
  readonly confirmation: Confirmation;
  readonly changes: FactorChanges;
  /** For the challenges. */
  readonly checker: ProofChecker;
  status(realm: string, subject: string): Promise<MfaStatus>;
}

export function factorServices(deps: FactorServiceDependencies): FactorServices {
  const { options, factors, attempts, clock } = deps;
  const { policy } = options;
  const seeds = new TotpSeeds(deps);
  const backupCodes = new BackupCodeSets(deps);
  return {
    enrollment: new Enrollment({ ...deps, ...options, methods: policy.methods, seeds }),
    confirmation: new Confirmation({ ...deps, ...options, seeds, backupCodes }),
    changes: new FactorChanges({ ...deps, requiredMethods: options.requiredMethods, backupCodes }),
    checker: new FactorProofChecker({ ...deps, ...options, seeds, backupCodes }),
    status: (realm, subject) => readMfaStatus({ factors, attempts, clock, policy }, realm, subject),
  };
}
