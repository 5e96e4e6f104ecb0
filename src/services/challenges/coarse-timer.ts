import type { DurationMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';

/**
 * Many deadlines on one timer. Each runs at its time or up to one step later. Costs one small entry per deadline, and
 * nothing at all while there is none.
 */
export class CoarseTimer {
  readonly #clock: Clock;
  readonly #stepMs: DurationMs;
  readonly #due = new Map<number, Set<() => void>>();
  #cancel: (() => void) | undefined;

  constructor(deps: { readonly clock: Clock; readonly stepMs: DurationMs }) {
    this.#clock = deps.clock;
    this.#stepMs = deps.stepMs;
  }

  /** Calls back once; the disposer cancels. */
  after(delay: DurationMs, run: () => void): () => void {
    const step = Math.ceil((this.#clock.monotonic() + Math.max(0, delay)) / this.#stepMs);
    const entry = () => run();
    const entries = this.#due.get(step) ?? new Set();
    this.#due.set(step, entries.add(entry));
    this.#cancel ??= this.#clock.schedule(this.#stepMs, () => this.#tick());
    return () => {
      entries.delete(entry);
      if (entries.size === 0 && this.#due.get(step) === entries) this.#due.delete(step);
    };
  }

  #tick(): void {
    this.#cancel = undefined;
    const now = this.#clock.monotonic() / this.#stepMs;
    for (const [step, entries] of [...this.#due]) {
      if (step > now) continue;
      this.#due.delete(step);
      for (const run of entries) run();
    }
    if (this.#due.size > 0) this.#cancel ??= this.#clock.schedule(this.#stepMs, () => this.#tick());
  }
}
