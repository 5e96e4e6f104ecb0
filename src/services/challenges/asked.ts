import type { Caller, ClientContext } from '#src/domain/caller.ts';
import type { PolicyDecision } from '#src/domain/policy.ts';
import type { Session } from '#src/domain/session.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { EventFields } from '../trail.ts';
import type { OpenCommand } from './open-command.ts';

/** One request for a challenge, with what the policy says to it. */
export interface Asked<Decision extends PolicyDecision = PolicyDecision> {
  readonly caller: Caller;
  readonly command: OpenCommand;
  readonly subject: string;
  readonly session: Session | undefined;
  readonly decision: Decision;
  readonly now: EpochMs;
}

export type ToProve = Asked<Extract<PolicyDecision, { readonly verdict: 'challenge' }>>;

export function decisionFacts({ command, decision }: Asked): Readonly<Record<string, string>> {
  const { purpose, action } = command;
  return { purpose, action: action.action, sensitivity: decision.sensitivity, policy_rule: decision.rule };
}

export function personOf(subject: string | undefined, session: Session | undefined, client: ClientContext) {
  return {
    ...(subject === undefined ? {} : { subject }),
    ...(session === undefined ? {} : { sessionId: session.id }),
    ...connectionOf(client),
  } satisfies Partial<EventFields>;
}

export function connectionOf(client: ClientContext) {
  return {
    ...(client.ipAddress === '' ? {} : { ipAddress: client.ipAddress }),
    ...(client.userAgent === '' ? {} : { userAgent: client.userAgent }),
  } satisfies Partial<EventFields>;
}
