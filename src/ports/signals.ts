import type { Challenge } from '../domain/challenge.ts';
import type { Revocation } from '../domain/session.ts';

/**
 * News between the parts of a sidecar, and later between sidecars. Signals are hints that make things quick: whoever
 * misses one still finds the truth in the stores, except that a cache may answer only while `live` is true.
 */
export interface Signals {
  challengeChanged(challenge: Challenge): void;
  onChallenge(challengeId: string, listener: (challenge: Challenge) => void): () => void;
  sessionsEnded(revocations: readonly Omit<Revocation, 'position'>[]): void;
  onSessionsEnded(listener: (revocations: readonly Omit<Revocation, 'position'>[]) => void): () => void;
  /**
   * Told when other sidecars changed sessions without ending them (a rotated token, a noted risk, labels): copies of them
   * are out of date. Each such news makes `generation` grow too.
   */
  onSessionsChanged(listener: (sessionIds: readonly string[]) => void): () => void;
  /** False while news may be missing; then no cached "valid" may be used. */
  readonly live: boolean;
  /**
   * Grows by one with each news of sessions, before it is told, and without any being told when some may have been missed
   * for good. What `live` being false held up is told before it is true again. A value that was read before the news is
   * not cached after it.
   */
  readonly generation: number;
}
