const STEP_MS = 5;
/** Timers are late by so much on a machine that has nothing else to do. */
const USUALLY_LATE_MS = 5;
/** And no more than this where the test itself keeps it busy. */
const STAND_MS = 250;

/**
 * Time since it was made, and how much of it this process could run. A shared machine stands still now and then, for a
 * moment or for seconds; that says nothing of how long what is tested takes, or waits.
 */
export class RunningTime implements Disposable {
  readonly #from = performance.now();
  #seen = performance.now();
  #stoodMs = 0;
  #longestMs = 0;
  readonly #timer = setInterval(() => {
    const late = this.#lateMs();
    this.#stoodMs += late;
    this.#longestMs = Math.max(this.#longestMs, late);
    this.#seen = performance.now();
  }, STEP_MS);

  /** Without the time in which nothing here could run. For upper bounds; lower ones are of `elapsedMs`. */
  get ms(): number {
    return this.elapsedMs - this.#stoodMs - this.#lateMs();
  }

  get elapsedMs(): number {
    return performance.now() - this.#from;
  }

  /** For how long nothing here could run at a stretch, at most; 0 where a test that is busy itself accounts for it. */
  get longestStandMs(): number {
    const longest = Math.max(this.#longestMs, this.#lateMs());
    return longest < STAND_MS ? 0 : longest;
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
