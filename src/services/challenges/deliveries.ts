import type { EventDraft } from '#src/domain/audit-event.ts';
import { type Challenge, type Delivery, isTerminal } from '#src/domain/challenge.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { Signals } from '#src/ports/signals.ts';
import type { Metrics } from '#src/ports/telemetry.ts';
import type { Trail } from '../trail.ts';
import { eventFields } from './challenge-endings.ts';

export interface DeliveriesDependencies {
  readonly challenges: Pick<ChallengeStore, 'noteDelivery' | 'advance'>;
  readonly trail: Trail;
  readonly signals: Signals;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

/** How methods tell what became of what they sent; whoever follows the challenge hears of it at once. */
export class Deliveries {
  readonly #deps: DeliveriesDependencies;

  constructor(deps: DeliveriesDependencies) {
    this.#deps = deps;
  }

  /**
   * Notes it, unless it says nothing new or the challenge has ended. Answers the challenge as it stands then; undefined
   * when it is gone. Throws Fault(unavailable) when the store is away: tell it again then.
   */
  async note(challenge: Challenge, delivery: Delivery): Promise<Challenge | undefined> {
    const { challenges, signals, metrics, clock } = this.#deps;
    const event = this.#event(challenge, delivery);
    const noted = await challenges.noteDelivery({
      realm: challenge.realm,
      challengeId: challenge.id,
      delivery,
      now: clock.now(),
      events: event ? [event] : [],
    });
    if (noted.outcome === 'missing') return undefined;
    if (noted.outcome === 'noted') {
      metrics.delivery(delivery.method, delivery.status, delivery.reason);
      signals.challengeChanged(noted.challenge);
    }
    return noted.challenge;
  }

  /** The person has opened it on a device. Nothing happens twice, and nothing once the challenge has ended. */
  async seen(challenge: Challenge): Promise<void> {
    if (challenge.state === 'SEEN' || isTerminal(challenge.state)) return;
    const { challenges, signals, trail, clock } = this.#deps;
    const moved = await challenges.advance({
      realm: challenge.realm,
      challengeId: challenge.id,
      to: 'SEEN',
      now: clock.now(),
    });
    if (moved.outcome !== 'advanced' || moved.challenge.state !== 'SEEN') return;
    signals.challengeChanged(moved.challenge);
    await trail.append(trail.draft('challenge.seen', undefined, { ...eventFields(moved.challenge), outcome: 'INFO' }));
  }

  #event(challenge: Challenge, { method, factorId, status, reason }: Delivery): EventDraft | undefined {
    if (status === 'QUEUED') return undefined;
    const arrives = status === 'SENT' || status === 'DELIVERED';
    return this.#deps.trail.draft(arrives ? 'challenge.delivered' : 'challenge.delivery_failed', undefined, {
      ...eventFields(challenge),
      method,
      factorId,
      outcome: arrives ? 'INFO' : 'FAILED',
      reason: arrives ? status : reason || status,
      facts: { status },
    });
  }
}
