import type { DurationMs, EpochMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** A clock that moves only when told to. Timers run in order of their time, at their time. */
export class ManualClock implements Clock {
  #now: EpochMs;
  #elapsed = 0;
  #order = 0;
  readonly #timers = new Set<Timer>();

  constructor(now: EpochMs = Date.UTC(2026, 0, 15, 12, 0, 0)) {
    this.#now = now;
  }

  now(): EpochMs {
    return this.#now;
  }

  monotonic(): number {
    return this.#elapsed;
  }

  schedule(delay: DurationMs, run: () => void): () => void {
    const timer: Timer = { at: this.#elapsed + Math.max(0, delay), order: this.#order++, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** How many timers are waiting. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves both clocks and runs what has become due. Promises that the timers start are not awaited: see `settle`. */
  advance(ms: DurationMs): void {
    const end = this.#elapsed + ms;
    for (;;) {
      let next: Timer | undefined;
      for (const timer of this.#timers) {
        if (timer.at > end) continue;
        if (!next || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer;
      }
      if (!next) break;
      this.#timers.delete(next);
      this.#move(Math.max(0, next.at - this.#elapsed));
      next.run();
    }
    this.#move(end - this.#elapsed);
  }

  /** Moves in steps, letting promises run after each. */
  async advanceSlowly(ms: DurationMs, step: DurationMs = 100): Promise<void> {
    for (let left = ms; left > 0; left -= step) {
      this.advance(Math.min(step, left));
      await settle();
    }
  }

  /** Sets the wall clock alone, as an administrator or NTP would; timers do not notice. */
  setWall(now: EpochMs): void {
    this.#now = now;
  }

  #move(ms: DurationMs): void {
    this.#now += ms;
    this.#elapsed += ms;
  }
}

/** Lets everything that is ready run: promises and one round of the event loop. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}
