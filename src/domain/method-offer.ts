import type { MethodOffer } from './challenge.ts';
import type { Factor } from './factor.ts';
import type { Method } from './method.ts';
import type { PolicyDecision } from './policy.ts';

export type Offering =
  | { readonly outcome: 'offered'; readonly offers: readonly MethodOffer[] }
  /** The caller asked for a method that the policy does not take here, or that the person does not have. */
  | { readonly outcome: 'not_offered'; readonly method: Method }
  /** The person has nothing that would do; `wouldDo` would. */
  | { readonly outcome: 'not_enrolled'; readonly wouldDo: readonly Method[] };

/** Whether a factor can answer a challenge. */
export function isUsable(factor: Factor): boolean {
  if (factor.state !== 'ACTIVE' || factor.freezeReason !== undefined) return false;
  return factor.method !== 'backup_code' || factor.codesLeft > 0;
}

/** Whether the person has the factor, frozen or not; one that nothing can reach any more is as good as gone. */
export function isHeld({ state, freezeReason }: Factor): boolean {
  return state === 'ACTIVE' && freezeReason !== 'ENDPOINT_GONE';
}

/**
 * How a challenge may be answered: what the policy takes, in its order of preference, from the factors the person has.
 * The caller may narrow this (`wanted`, empty for all) and choose one (`chosen`), never add to it.
 */
export function offersFor(
  decision: Extract<PolicyDecision, { readonly verdict: 'challenge' }>,
  usable: readonly Factor[],
  wanted: readonly Method[],
  chosen: Method | undefined,
): Offering {
  const asked = chosen === undefined ? wanted : [...wanted, chosen];
  const foreign = asked.find((method) => !decision.acceptable.includes(method));
  if (foreign !== undefined) return { outcome: 'not_offered', method: foreign };
  const isWanted = (method: Method) => wanted.length === 0 || wanted.includes(method);
  const offers = decision.methods
    .filter(isWanted)
    .flatMap((method) => usable.filter((factor) => factor.method === method))
    .map(({ method, id, displayName }) => ({ method, factorId: id, displayName }));
  if (offers.length === 0) return { outcome: 'not_enrolled', wouldDo: decision.acceptable.filter(isWanted) };
  if (chosen !== undefined && !offers.some((offer) => offer.method === chosen)) {
    return { outcome: 'not_offered', method: chosen };
  }
  return { outcome: 'offered', offers };
}
