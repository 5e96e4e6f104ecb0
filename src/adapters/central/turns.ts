import { Fault } from '#src/domain/faults.ts';

/** Lets one piece of work run at a time, in order, and refuses what would wait behind too many others. */
export class Turns {
  readonly #maxWaiting: number;
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(maxWaiting: number) {
    this.#maxWaiting = maxWaiting;
  }

  /** As `work` does, or rejects with Fault(limited, LIMIT_EXCEEDED). */
  async take<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= this.#maxWaiting)
      throw new Fault(
        'limited',
        'LIMIT_EXCEEDED',
        'too many searches of the trail are waiting; try again in a moment',
        {
          retryAfterMs: 1_000,
          quota: { subject: 'trail', description: 'searches that wait' },
        },
      );
    this.#waiting += 1;
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => {});
    try {
      return await turn;
    } finally {
      this.#waiting -= 1;
    }
  }
}
