import type { DurationMs } from '../domain/time.ts';
import type { Clock } from '../ports/runtime.ts';

/** Waits that end early when everything stops. */
export class Pauses {
  readonly #clock: Clock;
  readonly #wakers = new Set<() => void>();
  #stopped = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  /** False when everything stopped before or meanwhile. */
  async wait(delay: DurationMs): Promise<boolean> {
    if (this.#stopped) return false;
    await new Promise<void>((resolve) => {
      const wake = () => {
        cancel();
        this.#wakers.delete(wake);
        resolve();
      };
      const cancel = this.#clock.schedule(delay, wake);
      this.#wakers.add(wake);
    });
    return !this.#stopped;
  }

  /** Ends every wait; there are none from here on. */
  stop(): void {
    this.#stopped = true;
    for (const wake of [...this.#wakers]) wake();
  }
}
