import type { Challenge } from '#src/domain/challenge.ts';
import type { Revocation } from '#src/domain/session.ts';
import type { Signals } from '#src/ports/signals.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { Background } from './background.ts';
import type { News } from './contract.ts';
import { FollowedChallenges, type FollowedChallengesOptions } from './followed-challenges.ts';
import type { PendingEndsDrain } from './pending-ends-drain.ts';
import type { SessionFence } from './session-fence.ts';

type Ended = readonly Omit<Revocation, 'position'>[];

/** Outcomes on their way to other sidecars at once; what is above is found in the database by whoever follows. */
const MAX_TELLING = 1_024;

export interface SharedSignalsOptions extends FollowedChallengesOptions {
  readonly fence: SessionFence;
  /** Absent without Redis. */
  readonly pending?: PendingEndsDrain | undefined;
  readonly log: Log;
}

/**
 * News among all sidecars: what happens here is told here at once, what happens elsewhere comes by Redis, or by the
 * database where Redis does not say it. The ends of sessions go out with the store that ends them.
 */
export class SharedSignals implements Signals {
  readonly #news: News | undefined;
  readonly #fence: SessionFence;
  readonly #pending: PendingEndsDrain | undefined;
  readonly #log: Log;
  readonly #challenges: FollowedChallenges;
  readonly #telling: Background;
  readonly #ended = new Set<(ended: Ended) => void>();
  readonly #changed = new Set<(sessionIds: readonly string[]) => void>();
  #generation = 0;
  #stopFence: (() => void) | undefined;

  constructor(options: SharedSignalsOptions) {
    this.#news = options.news;
    this.#fence = options.fence;
    this.#pending = options.pending;
    this.#log = options.log;
    this.#challenges = new FollowedChallenges(options);
    this.#telling = new Background(MAX_TELLING, (error) => {
      options.log.debug('the state of a challenge could not be told', { error: String(error) });
    });
  }

  /** Before the fence starts. */
  start(): void {
    this.#challenges.start();
    this.#stopFence = this.#fence.listen({
      ended: (ends) => this.sessionsEnded(ends),
      changed: (sessionIds) => {
        this.#generation += 1;
        this.#tell(this.#changed, sessionIds);
      },
      // Nobody can be told what was missed; whoever compares generations notices.
      lost: () => {
        this.#generation += 1;
      },
    });
  }

  async stop(): Promise<void> {
    this.#stopFence?.();
    await this.#challenges.stop();
    await this.#telling.settled();
  }

  get live(): boolean {
    return this.#fence.fresh && (this.#pending?.allowsMemory ?? true);
  }

  get generation(): number {
    return this.#generation;
  }

  challengeChanged(challenge: Challenge): void {
    this.#challenges.tell(challenge);
    const news = this.#news;
    if (news?.connected) this.#telling.run(() => news.challengeChanged(challenge));
  }

  onChallenge(challengeId: string, listener: (challenge: Challenge) => void): () => void {
    return this.#challenges.follow(challengeId, listener);
  }

  sessionsEnded(revocations: Ended): void {
    if (revocations.length === 0) return;
    this.#generation += 1;
    this.#tell(this.#ended, revocations);
  }

  onSessionsEnded(listener: (ended: Ended) => void): () => void {
    this.#ended.add(listener);
    return () => this.#ended.delete(listener);
  }

  onSessionsChanged(listener: (sessionIds: readonly string[]) => void): () => void {
    this.#changed.add(listener);
    return () => this.#changed.delete(listener);
  }

  /** One listener's fault must not keep the news from the others, nor reach whoever caused it. */
  #tell<T>(listeners: ReadonlySet<(news: T) => void>, news: T): void {
    for (const listener of [...listeners]) {
      try {
        listener(news);
      } catch (error) {
        this.#log.error('a listener to news failed', { error: String(error) });
      }
    }
  }
}
