import type { DurationMs } from '../../domain/time.ts';

const STEP_MS = 500;
/** How many steps back the worst value counts: ten seconds, the usual period of a probe. */
const KEPT_STEPS = 20;

/** How late the event loop is: a timer is due every half second, and how late it comes is the lag. */
export class EventLoopLag implements Disposable {
  readonly #lags = new Float64Array(KEPT_STEPS);
  readonly #timer: NodeJS.Timeout;
  readonly #now: () => DurationMs;
  #due: DurationMs;
  #step = 0;

  /** `now` is monotonic, in milliseconds. */
  constructor(now: () => DurationMs = () => performance.now()) {
    this.#now = now;
    this.#due = now() + STEP_MS;
    this.#timer = setInterval(() => {
      const at = this.#now();
      this.#lags[this.#step % KEPT_STEPS] = Math.max(0, at - this.#due);
      this.#step += 1;
      this.#due = at + STEP_MS;
    }, STEP_MS);
    this.#timer.unref();
  }

  /** The lag right now. */
  current(): DurationMs {
    return Math.max(this.#lags[(this.#step - 1 + KEPT_STEPS) % KEPT_STEPS] ?? 0, this.#now() - this.#due, 0);
  }

  /** The worst lag of the last seconds. */
  worst(): DurationMs {
    return Math.max(this.current(), ...this.#lags);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
