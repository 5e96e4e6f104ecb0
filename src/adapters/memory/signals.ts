import type { Challenge } from '#src/domain/challenge.ts';
import type { Revocation } from '#src/domain/session.ts';
import type { Signals } from '#src/ports/signals.ts';
import type { Log } from '#src/ports/telemetry.ts';

type Ended = readonly Omit<Revocation, 'position'>[];

/** News within one process: told at once, in order, never lost while the process lives, so always `live`. */
export class MemorySignals implements Signals {
  readonly live = true;
  #generation = 0;
  readonly #challenges = new Map<string, Set<(challenge: Challenge) => void>>();
  readonly #sessions = new Set<(ended: Ended) => void>();
  readonly #log: Log;

  constructor(deps: { readonly log: Log }) {
    this.#log = deps.log;
  }

  get generation(): number {
    return this.#generation;
  }

  challengeChanged(challenge: Challenge): void {
    this.#tell(this.#challenges.get(challenge.id), challenge);
  }

  onChallenge(challengeId: string, listener: (challenge: Challenge) => void): () => void {
    const listeners = this.#challenges.get(challengeId) ?? new Set();
    this.#challenges.set(challengeId, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#challenges.get(challengeId) === listeners) this.#challenges.delete(challengeId);
    };
  }

  sessionsEnded(revocations: Ended): void {
    if (revocations.length === 0) return;
    this.#generation += 1;
    this.#tell(this.#sessions, revocations);
  }

  onSessionsEnded(listener: (ended: Ended) => void): () => void {
    this.#sessions.add(listener);
    return () => this.#sessions.delete(listener);
  }

  /** Nobody else changes sessions here, and who changes one drops their own copy. */
  onSessionsChanged(): () => void {
    return () => {};
  }

  /** One listener's fault must not keep the news from the others, nor reach whoever caused it. */
  #tell<T>(listeners: ReadonlySet<(news: T) => void> | undefined, news: T): void {
    if (!listeners) return;
    for (const listener of [...listeners]) {
      try {
        listener(news);
      } catch (error) {
        this.#log.error('a listener to news failed', { error: String(error) });
      }
    }
  }
}
