import type { Challenge } from '#src/domain/challenge.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { MovedChallenges, News } from './contract.ts';

/** How often the database is asked while news do not come. */
const LOOK_WITHOUT_NEWS: DurationMs = 250;
/** And while they do: should one have been lost. */
const LOOK_WITH_NEWS: DurationMs = 2_000;
/** Subscriptions that stand at about the same time share one question. */
const GATHER: DurationMs = 5;
/** Challenges per question. */
const BATCH = 1_000;

type Listener = (challenge: Challenge) => void;

interface Followed {
  readonly listeners: Set<Listener>;
  /** Undefined while no subscription stands. */
  unsubscribe: (() => void) | undefined;
  isSubscribing: boolean;
}

export interface FollowedChallengesOptions {
  /** The database itself. */
  readonly challenges: MovedChallenges;
  /** Absent without Redis. */
  readonly news?: News | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** Challenges that somebody here follows, whichever sidecar they are answered at. Costs nothing while nobody follows. */
export class FollowedChallenges {
  readonly #options: FollowedChallengesOptions;
  readonly #followed = new Map<string, Followed>();
  /** To be looked at once, since something may have happened before the subscription stood. */
  readonly #unseen = new Set<string>();
  #lastOfAll: number;
  #cancelTimer: (() => void) | undefined;
  #cancelSoon: (() => void) | undefined;
  #looking: Promise<void> | undefined;
  #stopNews: (() => void) | undefined;

  constructor(options: FollowedChallengesOptions) {
    this.#options = options;
    this.#lastOfAll = options.clock.monotonic();
  }

  start(): void {
    this.#stopNews = this.#options.news?.onConnected((connected) => {
      if (connected) for (const [id, followed] of this.#followed) this.#subscribe(id, followed);
      for (const id of this.#followed.keys()) this.#unseen.add(id);
      this.#lookSoon();
    });
  }

  async stop(): Promise<void> {
    this.#stopNews?.();
    this.#cancelTimer?.();
    this.#cancelSoon?.();
    for (const { unsubscribe } of this.#followed.values()) unsubscribe?.();
    this.#followed.clear();
    await this.#looking;
  }

  follow(challengeId: string, listener: Listener): () => void {
    const followed = this.#followed.get(challengeId) ?? {
      listeners: new Set<Listener>(),
      unsubscribe: undefined,
      isSubscribing: false,
    };
    followed.listeners.add(listener);
    if (!this.#followed.has(challengeId)) {
      this.#followed.set(challengeId, followed);
      this.#subscribe(challengeId, followed);
      this.#arm();
    }
    return () => {
      followed.listeners.delete(listener);
      if (followed.listeners.size > 0 || this.#followed.get(challengeId) !== followed) return;
      this.#followed.delete(challengeId);
      this.#unseen.delete(challengeId);
      followed.unsubscribe?.();
      followed.unsubscribe = undefined;
    };
  }

  /** Tells whoever follows it here. One listener's fault must not keep the news from the others. */
  tell(challenge: Challenge): void {
    const { log } = this.#options;
    for (const listener of [...(this.#followed.get(challenge.id)?.listeners ?? [])]) {
      try {
        listener(challenge);
      } catch (error) {
        log.error('a listener to news failed', { error: String(error) });
      }
    }
  }

  #subscribe(challengeId: string, followed: Followed): void {
    const { log, news } = this.#options;
    if (!news?.connected || followed.unsubscribe || followed.isSubscribing) return;
    followed.isSubscribing = true;
    const isFollowed = () => this.#followed.get(challengeId) === followed;
    void news
      .followChallenge(challengeId, (challenge) => {
        if (isFollowed()) this.tell(challenge);
      })
      .then(
        (unsubscribe) => {
          followed.isSubscribing = false;
          if (!isFollowed()) return unsubscribe();
          followed.unsubscribe = unsubscribe;
          this.#unseen.add(challengeId);
          this.#lookSoon();
        },
        (error: unknown) => {
          followed.isSubscribing = false;
          log.debug('news of a challenge could not be subscribed to', { error: String(error) });
        },
      );
  }

  #lookSoon(): void {
    if (this.#followed.size === 0) return;
    this.#cancelSoon ??= this.#options.clock.schedule(GATHER, () => {
      this.#cancelSoon = undefined;
      void this.#look();
    });
  }

  #arm(): void {
    if (this.#cancelTimer || this.#followed.size === 0) return;
    const { clock, news } = this.#options;
    const isTold = ({ unsubscribe }: Followed) => news?.connected === true && unsubscribe !== undefined;
    const every = [...this.#followed.values()].every(isTold) ? LOOK_WITH_NEWS : LOOK_WITHOUT_NEWS;
    this.#cancelTimer = clock.schedule(every, () => {
      this.#cancelTimer = undefined;
      const now = clock.monotonic();
      const isTimeForAll = now - this.#lastOfAll >= LOOK_WITH_NEWS;
      if (isTimeForAll) this.#lastOfAll = now;
      for (const [id, followed] of this.#followed) {
        if (isTimeForAll || !isTold(followed)) this.#unseen.add(id);
        this.#subscribe(id, followed);
      }
      void this.#look().finally(() => this.#arm());
    });
  }

  /** One at a time; who asks meanwhile is served by what is still unseen then. */
  #look(): Promise<void> {
    this.#looking ??= this.#lookAtUnseen().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #lookAtUnseen(): Promise<void> {
    const { challenges, log } = this.#options;
    while (this.#unseen.size > 0) {
      const ids = [...this.#unseen].slice(0, BATCH);
      for (const id of ids) this.#unseen.delete(id);
      try {
        for (const challenge of await challenges.movedAmong(ids)) this.tell(challenge);
      } catch (error) {
        // The timer asks again.
        log.debug('followed challenges could not be read', { error: String(error) });
        return;
      }
    }
  }
}
