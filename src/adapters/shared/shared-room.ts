import type { Session } from '#src/domain/session.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { Dependencies } from '#src/ports/dependencies.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';
import type { ChallengeCopies, MovedChallenges, News, PendingEnds, SessionCopies } from './contract.ts';
import { FrontedChallengeStore } from './fronted-challenge-store.ts';
import { FrontedSessionStore } from './fronted-session-store.ts';
import { PendingEndsDrain } from './pending-ends-drain.ts';
import { SessionCopyKeeper } from './session-copy-keeper.ts';
import { SessionFence } from './session-fence.ts';
import { SharedSignals } from './shared-signals.ts';

/** What Redis holds and carries. */
export interface SharedFront {
  readonly sessions: SessionCopies;
  readonly challenges: ChallengeCopies;
  readonly pendingEnds: PendingEnds;
  readonly news: News;
}

export interface SharedRoomOptions {
  /** The database itself. */
  readonly sessions: SessionStore;
  readonly challenges: ChallengeStore & MovedChallenges;
  /** Absent without Redis. */
  readonly front?: SharedFront | undefined;
  readonly dependencies: Dependencies;
  readonly realms: readonly string[];
  /** The longest that anything goes on while PostgreSQL is away. */
  readonly longestOutageMs: DurationMs;
  /** Longest wait for one look at the log of changes. */
  readonly lookTimeoutMs: DurationMs;
  /** What is told to whoever asks for an end while PostgreSQL is away. */
  readonly retryAfterMs: DurationMs;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Pick<Metrics, 'sessionEnded'>;
}

/** What makes many sidecars with one database act as one. */
export interface SharedRoom {
  readonly sessions: SessionStore;
  readonly challenges: ChallengeStore;
  readonly signals: SharedSignals;
  readonly fence: SessionFence;
  /** Absent without Redis. */
  readonly pending: PendingEndsDrain | undefined;
  /** Resolves when what can be known at the start is known, or could not be found out. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

export function makeSharedRoom(options: SharedRoomOptions): SharedRoom {
  const { front, sessions: store, clock, log, metrics } = options;
  const news = front?.news;
  const fence = new SessionFence({ ...options, store, news, timeoutMs: options.lookTimeoutMs });
  const keeper = new SessionCopyKeeper({ store, copies: front?.sessions, news, fence, clock, log });
  const announce = (ended: readonly Session[]) => {
    for (const { endReason = 'REVOKED' } of ended) metrics.sessionEnded(endReason);
    void keeper.ended(ended);
    signals.sessionsEnded(
      ended.map(({ realm, id, subject, endReason = 'REVOKED', endedAt = 0 }) => {
        return { realm, sessionId: id, subject, reason: endReason, endedAt };
      }),
    );
  };
  const pending =
    front &&
    new PendingEndsDrain({
      ...options,
      store,
      pendingEnds: front.pendingEnds,
      news: front.news,
      announce,
      heard: (ends) => fence.found(ends),
      caughtUp: () => fence.catchUpAll(),
      graceMs: 3 * options.retryAfterMs,
    });
  const signals = new SharedSignals({ challenges: options.challenges, news, fence, pending, clock, log });
  const sessions = new FrontedSessionStore({
    ...options,
    store,
    copies: front?.sessions,
    pending,
    news,
    keeper,
    fence,
  });
  const challenges = front
    ? new FrontedChallengeStore({ ...options, store: options.challenges, copies: front.challenges })
    : undefined;
  return {
    sessions,
    challenges: challenges ?? options.challenges,
    signals,
    fence,
    pending,
    start: async () => {
      signals.start();
      await fence.start();
      await pending?.start();
    },
    stop: async () => {
      await pending?.stop();
      await fence.stop();
      await signals.stop();
      await Promise.all([keeper.settled(), challenges?.settled()]);
    },
  };
}
