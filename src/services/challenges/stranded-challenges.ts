import type { Challenge } from '#src/domain/challenge.ts';
import { type DurationMs, SECOND } from '#src/domain/time.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';

/** A wall clock that falls back by more than this was set back; less is drift. */
const SET_BACK: DurationMs = SECOND / 2;
/** What would have ended longer ago than this would not have been open still: it was opened after the step. */
const LONG_OVER: DurationMs = 10 * SECOND;
/** Far above what may be open at once; the rest would wait for the wall clock to catch up. */
const MAX_OPEN = 100_000;

export interface StrandedDependencies {
  readonly challenges: Pick<ChallengeStore, 'due'>;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Challenges that were open when the wall clock was set back: by it they have time left, by the clock that never goes
 * back they have what they had before. Costs nothing as long as nobody sets the clock back.
 */
export class StrandedChallenges {
  readonly #deps: StrandedDependencies;
  /** How far the wall clock is ahead of the monotonic one, as last taken note of. */
  #ahead: DurationMs;
  /** With the monotonic time at which their time is up. */
  #open: readonly { readonly challenge: Challenge; readonly dueAt: number }[] = [];

  constructor(deps: StrandedDependencies) {
    this.#deps = deps;
    this.#ahead = this.#lead();
  }

  /** Whether the wall clock was set back and `take` has not succeeded since. To be asked often. */
  get wasSetBack(): boolean {
    this.#ahead = Math.max(this.#ahead, this.#lead());
    return this.#lead() < this.#ahead - SET_BACK;
  }

  /**
   * Takes over what is open, with the time it had left before. What was opened since the step is left alone where it can
   * be told apart, and ends early, never late, where it cannot. May be tried again after a failure.
   */
  async take(): Promise<void> {
    const { challenges, clock, log } = this.#deps;
    const before = this.#ahead;
    const after = this.#lead();
    const open = await challenges.due(Number.MAX_SAFE_INTEGER, MAX_OPEN);
    const elapsed = clock.monotonic();
    const taken = open.map((challenge) => ({ challenge, dueAt: challenge.expiresAt - before }));
    this.#open = [...this.#open, ...taken.filter(({ dueAt }) => dueAt > elapsed - LONG_OVER)];
    this.#ahead = after;
    log.warn('the wall clock was set back', { milliseconds: Math.round(before - after), open: open.length });
  }

  /** Those whose time is up. */
  due(): readonly Challenge[] {
    if (this.#open.length === 0) return [];
    const elapsed = this.#deps.clock.monotonic();
    return this.#open.filter(({ dueAt }) => dueAt <= elapsed).map(({ challenge }) => challenge);
  }

  /** They have been ended. */
  ended(challenges: readonly Challenge[]): void {
    const gone = new Set(challenges);
    this.#open = this.#open.filter(({ challenge }) => !gone.has(challenge));
  }

  #lead(): DurationMs {
    return this.#deps.clock.now() - this.#deps.clock.monotonic();
  }
}
