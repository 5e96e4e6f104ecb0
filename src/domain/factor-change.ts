import { type Action, actionDigest } from './action.ts';
import type { ChallengePurpose } from './challenge.ts';
import { isAtLeastAsStrong, METHODS, type Method } from './method.ts';

/** A change to the set of factors that somebody has. */
export type FactorChange =
  | { readonly kind: 'enroll'; readonly method: Method }
  | { readonly kind: 'remove'; readonly factorId: string }
  | { readonly kind: 'regenerate' };

/** The action to be approved by a challenge with purpose FACTOR_CHANGE before the change is made. */
export function actionOf(change: FactorChange): Action {
  const details = new Map<string, string>();
  switch (change.kind) {
    case 'enroll':
      return { resource: `factors/${change.method}`, action: 'factor.enroll', details };
    case 'remove':
      return { resource: `factors/${change.factorId}`, action: 'factor.remove', details };
    case 'regenerate':
      return { resource: 'factors/backup_code', action: 'factor.regenerate', details };
  }
}

/** What a receipt says that matters here. */
export interface ChangeProof {
  readonly realm: string;
  readonly audience: string;
  readonly subject: string;
  readonly purpose: ChallengePurpose;
  readonly actionDigest: string;
  /** undefined when it was approved without a proof. */
  readonly method?: string;
}

export type ProofFlaw = 'realm' | 'audience' | 'subject' | 'purpose' | 'action' | 'no_proof' | 'strength';

/**
 * Why a receipt does not permit the change, or undefined if it does. It takes a proof, never an approval without one, by
 * a method at least as strong as every factor that is touched (NIST SP 800-63B section 6.1.2). Backup codes change
 * nothing: they are for getting back in, and a sheet of paper is stolen too easily to take everything over with it.
 */
export function flawOf(
  proof: ChangeProof,
  wanted: {
    readonly realm: string;
    readonly subject: string;
    readonly change: FactorChange;
    readonly touched: readonly Method[];
  },
): ProofFlaw | undefined {
  const { realm, subject, change, touched } = wanted;
  if (proof.realm !== realm) return 'realm';
  if (proof.audience !== realm) return 'audience';
  if (proof.subject !== subject) return 'subject';
  if (proof.purpose !== 'factor_change') return 'purpose';
  if (proof.actionDigest !== actionDigest(realm, subject, actionOf(change))) return 'action';
  const proven = METHODS.find((method) => method === proof.method);
  if (proven === undefined) return 'no_proof';
  if (proven === 'backup_code') return 'strength';
  return touched.every((method) => isAtLeastAsStrong(proven, method)) ? undefined : 'strength';
}
