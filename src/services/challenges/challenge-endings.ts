import type { EventDraft, EventType } from '#src/domain/audit-event.ts';
import type { Caller } from '#src/domain/caller.ts';
import type { Challenge, TerminalState } from '#src/domain/challenge.ts';
import { Fault } from '#src/domain/faults.ts';
import { isOver } from '#src/domain/time.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { Signals } from '#src/ports/signals.ts';
import type { Metrics } from '#src/ports/telemetry.ts';
import type { EventFields, Trail } from '../trail.ts';

export type UnprovenEnd = Exclude<TerminalState, 'APPROVED'>;

const EVENT_OF: Readonly<Record<UnprovenEnd, EventType>> = {
  DENIED: 'challenge.denied',
  EXPIRED: 'challenge.expired',
  CANCELLED: 'challenge.cancelled',
  LOCKED: 'challenge.locked',
  SUPERSEDED: 'challenge.superseded',
};

/** What is recorded of an end besides the state. */
export interface HowEnded {
  /** Recorded together with it. */
  readonly also?: readonly EventDraft[];
  /** In place of the state's name; one word of a closed set, since it becomes a label. */
  readonly reason?: string;
  readonly facts?: Readonly<Record<string, string>>;
  readonly fields?: Pick<EventFields, 'method' | 'factorId'>;
}

export interface ChallengeEndingsDependencies {
  readonly challenges: Pick<ChallengeStore, 'settle'>;
  readonly trail: Trail;
  readonly signals: Signals;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

/** Ends challenges without an approval: once each, with the event in the same step, then the news and the count. */
export class ChallengeEndings {
  readonly #deps: ChallengeEndingsDependencies;

  constructor(deps: ChallengeEndingsDependencies) {
    this.#deps = deps;
  }

  /**
   * Answers the challenge as it stands afterwards, and whether this call ended it. Throws Fault(not-found) if it is gone.
   */
  async end(
    challenge: Challenge,
    to: UnprovenEnd,
    caller: Caller | undefined,
    how: HowEnded = {},
  ): Promise<{ readonly challenge: Challenge; readonly ended: boolean }> {
    const { challenges, trail, clock } = this.#deps;
    const { also = [], reason = '', facts = {}, fields = {} } = how;
    const event = trail.draft(EVENT_OF[to], caller, {
      ...eventFields(challenge),
      ...fields,
      outcome: to === 'CANCELLED' || to === 'SUPERSEDED' ? 'INFO' : 'REFUSED',
      reason: reason === '' ? to : reason,
      facts: { purpose: challenge.purpose, ...facts },
    });
    const settled = await challenges.settle({
      realm: challenge.realm,
      challengeId: challenge.id,
      to,
      now: clock.now(),
      events: [...also, event],
    });
    if (settled.outcome === 'missing') throw gone();
    if (settled.outcome === 'ended') return { challenge: await this.settled(settled.challenge), ended: false };
    this.announce(settled.challenge, reason);
    return { challenge: settled.challenge, ended: true };
  }

  /** A store tells EXPIRED as soon as the time is up; it is said to nobody before it is durable. */
  async settled(challenge: Challenge): Promise<Challenge> {
    return challenge.settledAt === undefined && isOver(challenge.expiresAt, this.#deps.clock.now())
      ? this.expire(challenge)
      : challenge;
  }

  /** Ends an open challenge whose time is up. */
  async expire(challenge: Challenge): Promise<Challenge> {
    return (await this.end(challenge, 'EXPIRED', undefined)).challenge;
  }

  /** Tells the watchers and counts an end that has just become durable. */
  announce(challenge: Challenge, reason = ''): void {
    const { signals, metrics } = this.#deps;
    signals.challengeChanged(challenge);
    const method = challenge.provenMethod ?? challenge.chosenMethod ?? 'none';
    const { createdAt, expiresAt, settledAt = expiresAt } = challenge;
    // Two sidecars can have opened and ended it, by two clocks.
    const seconds = Math.max(0, settledAt - createdAt) / 1_000;
    metrics.challengeEnded(method, challenge.state, challenge.approvalReason ?? reason, seconds);
  }
}

/** What every event about a challenge says of it. */
export function eventFields(challenge: Challenge): Omit<EventFields, 'outcome'> {
  return {
    realm: challenge.realm,
    subject: challenge.subject,
    challengeId: challenge.id,
    actionDigest: challenge.actionDigest,
    ...(challenge.sessionId === '' ? {} : { sessionId: challenge.sessionId }),
    ...(challenge.chosenMethod === undefined ? {} : { method: challenge.chosenMethod }),
  };
}

export function gone(): Fault {
  return new Fault('not-found', 'CHALLENGE_NOT_FOUND', 'there is no such challenge for this caller and session');
}
