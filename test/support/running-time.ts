const STEP_MS = 5;
/** Timers are late by so much on a machine that has nothing else to do. */
const USUALLY_LATE_MS = 5;

/**
 * Time since it was made, and how much of it this process could run. A shared machine stands still now and then, for a
 * moment or for seconds; that says nothing of how long what is tested takes, or waits.
 */
export class RunningTime implements Disposable {
  readonly #from = performance.now();
  #seen = performance.now();
  #stoodMs = 0;
  readonly #timer = setInterval(() => {
    this.#stoodMs += this.#lateMs();
    this.#seen = performance.now();
  }, STEP_MS);

  /** Without the time in which nothing here could run. For upper bounds; lower ones are of `elapsedMs`. */
  get ms(): number {
    return this.elapsedMs - this.#stoodMs - this.#lateMs();
  }

  get elapsedMs(): number {
    return performance.now() - this.#from;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #lateMs(): number {
    const late = performance.now() - this.#seen - STEP_MS;
    return late > USUALLY_LATE_MS ? late : 0;
  }
}

export interface Took {
  /** In which this process could run; see `RunningTime`. */
  readonly ms: number;
  readonly elapsedMs: number;
}

/** How long it took. */
export async function took(work: () => PromiseLike<unknown>): Promise<Took> {
  using time = new RunningTime();
  await work();
  const { ms, elapsedMs } = time;
  return { ms, elapsedMs };
}
