import { isLocked } from '#src/domain/failure-budget.ts';
import type { Method } from '#src/domain/method.ts';
import { isUsable } from '#src/domain/method-offer.ts';
import type { Policy } from '#src/domain/policy.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock } from '#src/ports/runtime.ts';

export interface MfaStatus {
  readonly mfaEnabled: boolean;
  /** Whether the person has a factor that satisfies the policy for critical actions. */
  readonly enrolled: boolean;
  readonly usableMethods: readonly Method[];
  readonly availableMethods: readonly Method[];
  readonly backupCodesLeft: number;
  /** Absent when not locked, and after the hard stop. */
  readonly lockedUntil?: EpochMs;
  readonly hardLocked: boolean;
}

export interface MfaStatusDependencies {
  readonly factors: Pick<FactorStore, 'list'>;
  readonly attempts: Pick<AttemptStore, 'read'>;
  readonly clock: Clock;
  /** Methods that BeginEnrollment takes. */
  readonly enrollable: readonly Method[];
  readonly policy: Pick<Policy, 'mfaEnabled' | 'methods' | 'criticalMethods' | 'smsForCritical'>;
}

/** What a person has and what the policy asks for. A person that nobody has heard of has nothing. */
export async function readMfaStatus(
  { factors, attempts, clock, policy, enrollable }: MfaStatusDependencies,
  realm: string,
  subject: string,
): Promise<MfaStatus> {
  const now = clock.now();
  const [held, budget] = await Promise.all([factors.list(realm, subject, now), attempts.read(realm, subject)]);
  const usable = held.filter(isUsable);
  const usableMethods = policy.methods.filter((method) => usable.some((factor) => factor.method === method));
  const satisfiesCritical = (method: Method) =>
    policy.criticalMethods.includes(method) || (policy.smsForCritical && method === 'sms');
  return {
    mfaEnabled: policy.mfaEnabled,
    enrolled: usableMethods.some(satisfiesCritical),
    usableMethods,
    availableMethods: policy.methods.filter((method) => enrollable.includes(method)),
    backupCodesLeft: held.reduce((sum, factor) => sum + factor.codesLeft, 0),
    ...(isLocked(budget, now) && !budget.hardLocked ? { lockedUntil: budget.lockedUntil } : {}),
    hardLocked: budget.hardLocked,
  };
}
