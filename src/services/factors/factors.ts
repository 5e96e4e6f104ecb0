import type { BudgetLimits } from '#src/domain/failure-budget.ts';
import type { Policy } from '#src/domain/policy.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock, KeyedDigest, Random, SecretBox } from '#src/ports/runtime.ts';
import type { Metrics } from '#src/ports/telemetry.ts';
import type { ProofChecker } from '../challenges/proof.ts';
import type { ReceiptAuthority, SessionAuthority } from '../contracts.ts';
import type { Lanes } from '../lanes.ts';
import type { MethodRegistry } from '../methods/registry.ts';
import type { RequestClaims } from '../request-claims.ts';
import type { Trail } from '../trail.ts';
import type { BackupCodeSets } from './backup-code-sets.ts';
import { Confirmation } from './confirmation.ts';
import { Enrollment, type EnrollmentOptions } from './enrollment.ts';
import { type FactorChangeDependencies, FactorChanges } from './factor-changes.ts';
import { FactorTrail } from './factor-trail.ts';
import { type MfaStatus, readMfaStatus } from './mfa-status.ts';
import { FactorProofChecker } from './proof-checker.ts';
import { TemporaryPasses } from './temporary-passes.ts';

export interface FactorServiceOptions
  extends Omit<EnrollmentOptions, 'switchedOn'>,
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
  readonly methods: MethodRegistry;
  /** The same that check backup codes. */
  readonly backupCodes: BackupCodeSets;
  readonly claims: RequestClaims;
  /** The same that proofs of challenges queue in. */
  readonly lanes: Lanes;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly random: Random;
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
  const { options, factors, attempts, clock, methods } = deps;
  const { policy, budget } = options;
  const passes = new TemporaryPasses({
    ...deps,
    budget,
    trail: new FactorTrail(deps.trail, 'factor.enrollment_refused'),
  });
  return {
    enrollment: new Enrollment({ ...deps, ...options, switchedOn: policy.methods, passes }),
    confirmation: new Confirmation({ ...deps, ...options }),
    changes: new FactorChanges({ ...deps, requiredMethods: options.requiredMethods }),
    checker: new FactorProofChecker(deps),
    status: (realm, subject) =>
      readMfaStatus({ factors, attempts, clock, policy, enrollable: methods.enrollable }, realm, subject),
  };
}
