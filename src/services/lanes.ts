interface Lane {
  /** Never rejects. */
  tail: Promise<unknown>;
  length: number;
}

/** Runs work for one key in order, one at a time; different keys run side by side. */
export class Lanes {
  readonly #lanes = new Map<string, Lane>();
  readonly #maxWaiting: number;

  constructor(options: { readonly maxWaiting: number }) {
    this.#maxWaiting = options.maxWaiting;
  }

  /** Whether no more work may wait for this key. */
  isFull(key: string): boolean {
    return (this.#lanes.get(key)?.length ?? 0) > this.#maxWaiting;
  }

  /** `work` is told whether it had to wait for another. Ask `isFull` first. */
  async run<T>(key: string, work: (waited: boolean) => Promise<T>): Promise<T> {
    const lane = this.#lanes.get(key) ?? { tail: Promise.resolve(), length: 0 };
    const waited = lane.length > 0;
    lane.length += 1;
    this.#lanes.set(key, lane);
    const result = waited ? lane.tail.then(() => work(waited)) : work(waited);
    lane.tail = result.catch(() => {});
    try {
      return await result;
    } finally {
      lane.length -= 1;
      if (lane.length === 0) this.#lanes.delete(key);
    }
  }
}
