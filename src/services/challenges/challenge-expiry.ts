import type { Challenge } from '#src/domain/challenge.ts';
import { type DurationMs, SECOND } from '#src/domain/time.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { ChallengeEndings } from './challenge-endings.ts';
import { StrandedChallenges } from './stranded-challenges.ts';

/** Deadlines are gathered in steps of this, so what they cost does not grow with the number of challenges. */
const STEP: DurationMs = 250;
const RETRY_AFTER: DurationMs = SECOND;
const BATCH = 512;
const PARALLEL = 128;
const PURGE_EVERY: DurationMs = 60 * SECOND;
const PURGE_BATCH = 1_000;

export interface ChallengeExpiryDependencies {
  readonly challenges: Pick<ChallengeStore, 'due' | 'purge'>;
  readonly endings: Pick<ChallengeEndings, 'expire'>;
  readonly clock: Clock;
  readonly log: Log;
  /** How often to look for challenges that nobody here knows of: left by a crash, or opened by another sidecar. */
  readonly sweepMs: DurationMs;
  /** How long ended challenges, spent receipts and request ids are kept. Longer than any of them can be used. */
  readonly keepMs: DurationMs;
}

/**
 * Ends open challenges whose time is up, within a second, on one timer; and collects what is long over. Time is up by the
 * clock that never goes back: a wall clock that is set back keeps no challenge open for longer.
 */
export class ChallengeExpiry {
  readonly #deps: ChallengeExpiryDependencies;
  readonly #stranded: StrandedChallenges;
  /** Steps of the wall clock at which something falls due. */
  readonly #steps = new Set<number>();
  #cancel: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;
  #lastSweep = Number.NEGATIVE_INFINITY;
  #lastPurge = Number.NEGATIVE_INFINITY;

  constructor(deps: ChallengeExpiryDependencies) {
    this.#deps = deps;
    this.#stranded = new StrandedChallenges(deps);
  }

  /** Begins, with what was left by an earlier life. */
  start(): void {
    if (!this.#cancel && !this.#stopped) this.#tick();
  }

  /** Takes note of an open challenge. */
  track(challenge: Challenge): void {
    this.#steps.add(Math.ceil(challenge.expiresAt / STEP));
  }

  /** Resolves when nothing of it is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#running;
  }

  #tick(): void {
    if (this.#stopped) return;
    this.#cancel = this.#deps.clock.schedule(STEP, () => this.#tick());
    // A slow round is not joined by another; the steps that fall due meanwhile wait for the next tick.
    if (this.#running) return;
    const work = this.#dueWork();
    if (!work) return;
    this.#running = work()
      .catch((error: unknown) => {
        this.#lastSweep = this.#deps.clock.monotonic() - this.#deps.sweepMs + RETRY_AFTER;
        this.#deps.log.warn('ending overdue challenges failed; trying again', { error: String(error) });
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  #dueWork(): (() => Promise<void>) | undefined {
    const { clock, sweepMs } = this.#deps;
    const step = clock.now() / STEP;
    let falling = false;
    for (const due of this.#steps) {
      if (due > step) continue;
      this.#steps.delete(due);
      falling = true;
    }
    const setBack = this.#stranded.wasSetBack;
    const stranded = this.#stranded.due();
    const elapsed = clock.monotonic();
    const sweep = elapsed - this.#lastSweep >= sweepMs;
    const purge = elapsed - this.#lastPurge >= PURGE_EVERY;
    if (!falling && !sweep && !setBack && stranded.length === 0) return undefined;
    this.#lastSweep = elapsed;
    if (purge) this.#lastPurge = elapsed;
    return async () => {
      if (setBack) await this.#stranded.take();
      await this.#end(stranded);
      this.#stranded.ended(stranded);
      await this.#sweep();
      if (purge) await this.#purge();
    };
  }

  /** Ends everything that is overdue, batch by batch. */
  async #sweep(): Promise<void> {
    const { challenges, clock } = this.#deps;
    for (;;) {
      const overdue = await challenges.due(clock.now(), BATCH);
      await this.#end(overdue);
      if (overdue.length < BATCH || this.#stopped) return;
    }
  }

  /** A failure ends the round: the next one begins with the same challenges. */
  async #end(overdue: readonly Challenge[]): Promise<void> {
    let next = 0;
    const worker = async () => {
      for (;;) {
        const challenge = overdue[next++];
        if (!challenge) return;
        await this.#deps.endings.expire(challenge);
      }
    };
    const workers = Array.from({ length: Math.min(PARALLEL, overdue.length) }, worker);
    const results = await Promise.allSettled(workers);
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
  }

  async #purge(): Promise<void> {
    const { challenges, clock, keepMs } = this.#deps;
    const before = clock.now() - keepMs;
    while (!this.#stopped && (await challenges.purge(before, PURGE_BATCH)) >= PURGE_BATCH);
  }
}
