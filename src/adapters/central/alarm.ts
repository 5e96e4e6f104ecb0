import type { DurationMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';

/** An alarm clock for one sleeper: it rings at the earliest of the times that it was set to, and is quiet then. */
export class Alarm {
  readonly #clock: Clock;
  #at = Number.POSITIVE_INFINITY;
  #cancel: (() => void) | undefined;
  #rung = false;
  #wake: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Rings after `ms` at the latest. */
  within(ms: DurationMs): void {
    const at = this.#clock.monotonic() + ms;
    if (this.#rung || at >= this.#at) return;
    this.#at = at;
    this.#cancel?.();
    this.#cancel = this.#clock.schedule(ms, () => this.ring());
  }

  ring(): void {
    this.quiet();
    this.#rung = true;
    this.#wake?.();
  }

  /** Forgets what it was set to. */
  quiet(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#at = Number.POSITIVE_INFINITY;
    this.#rung = false;
  }

  /** Resolves when it rings, or at once when it has rung. */
  async rings(): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    this.quiet();
  }
}
