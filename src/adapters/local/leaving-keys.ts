export interface LeavingKeysOptions {
  /** Looks once more whether their persons were erased on the way, and sees to it that those do not stay there. */
  readonly before: (refs: readonly string[]) => Promise<void>;
  /** Takes them out of the local file. */
  readonly leave: (refs: readonly string[]) => Promise<void>;
}

/**
 * Keys that have reached central storage, on their way out of the local file. Whoever flushes does not wait for it: the
 * look before needs the database, and a grant that waits for the flush may hold the only connection to it. What fails is
 * tried again with the next flush; until then the keys are merely there twice.
 */
export class LeavingKeys {
  readonly #options: LeavingKeysOptions;
  readonly #waiting = new Set<string>();
  #leaving: Promise<void> | undefined;

  constructor(options: LeavingKeysOptions) {
    this.#options = options;
  }

  /** To be called after every flush. */
  after(refs: readonly string[]): void {
    for (const ref of refs) this.#waiting.add(ref);
    if (this.#waiting.size === 0) return;
    this.#leaving ??= this.#leave()
      .catch(() => {})
      .finally(() => {
        this.#leaving = undefined;
      });
  }

  async #leave(): Promise<void> {
    const refs = [...this.#waiting];
    await this.#options.before(refs);
    await this.#options.leave(refs);
    for (const ref of refs) this.#waiting.delete(ref);
  }
}
