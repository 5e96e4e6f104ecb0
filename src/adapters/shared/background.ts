/** Work that nobody waits for. It is optional: what finds no room is not done, and what fails is told to `failed`. */
export class Background {
  readonly #max: number;
  readonly #failed: (error: unknown) => void;
  readonly #running = new Set<Promise<void>>();

  constructor(max: number, failed: (error: unknown) => void) {
    this.#max = max;
    this.#failed = failed;
  }

  /** False if there was no room. */
  run(work: () => Promise<unknown>): boolean {
    if (this.#running.size >= this.#max) return false;
    const running: Promise<void> = work()
      .then(
        () => {},
        (error: unknown) => this.#failed(error),
      )
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
    return true;
  }

  /** Resolves when all that runs is done. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }
}
