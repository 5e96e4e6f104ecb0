import type { EventOutcome } from '#src/domain/audit-event.ts';
import type { Caller } from '#src/domain/caller.ts';
import type { EndReason, Session } from '#src/domain/session.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { EndSessions, SessionStore } from '#src/ports/session-store.ts';
import type { Signals } from '#src/ports/signals.ts';
import type { Metrics } from '#src/ports/telemetry.ts';
import type { Trail } from '../trail.ts';
import type { SessionCache } from './session-cache.ts';

export interface SessionEndingsDependencies {
  readonly store: Pick<SessionStore, 'end'>;
  readonly cache: SessionCache;
  readonly signals: Signals;
  readonly trail: Trail;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

const BY_TIME: ReadonlySet<EndReason> = new Set(['EXPIRED', 'IDLE', 'EVICTED']);

export function endOutcome(reason: EndReason): EventOutcome {
  return BY_TIME.has(reason) ? 'INFO' : 'SUCCESS';
}

/** The one way in which sessions end: durable with its event first, then out of the cache, then the news. */
export class SessionEndings {
  readonly #deps: SessionEndingsDependencies;

  constructor(deps: SessionEndingsDependencies) {
    this.#deps = deps;
  }

  /**
   * Ends what the target names and answers the sessions that this call ended. `caller` undefined means the sidecar
   * itself. `facts` go into each event.
   */
  async end(
    realm: string,
    target: EndSessions['target'],
    reason: EndReason,
    caller: Caller | undefined,
    facts: Readonly<Record<string, string>> = {},
  ): Promise<readonly Session[]> {
    const { store, cache, trail, clock } = this.#deps;
    const event = trail.draft('session.ended', caller, { realm, outcome: endOutcome(reason), reason, facts });
    try {
      const ended = await store.end({ realm, target, reason, now: clock.now(), event });
      this.announce(ended);
      return ended;
    } catch (error) {
      // It may have taken effect all the same; of a person, nobody knows for which sessions.
      if (target.kind === 'subject') cache.clear();
      else for (const sessionId of target.sessionIds) cache.drop(sessionId);
      throw error;
    }
  }

  /** What has ended durably leaves the cache before anybody is answered, and becomes news. */
  announce(ended: readonly Session[]): void {
    if (ended.length === 0) return;
    const { cache, signals, metrics } = this.#deps;
    const revocations = ended.map((session) => {
      cache.drop(session.id);
      const reason = session.endReason ?? 'REVOKED';
      metrics.sessionEnded(reason);
      return {
        realm: session.realm,
        sessionId: session.id,
        subject: session.subject,
        reason,
        endedAt: session.endedAt ?? 0,
      };
    });
    signals.sessionsEnded(revocations);
  }
}
