/** Lets one waiter sleep until something happened; what happens while nobody waits is not lost. */
export class Wakeup {
  #happened = false;
  #resume: (() => void) | undefined;

  readonly wake = (): void => {
    this.#happened = true;
    this.#resume?.();
  };

  async wait(): Promise<void> {
    if (!this.#happened) {
      await new Promise<void>((resolve) => {
        this.#resume = resolve;
      });
      this.#resume = undefined;
    }
    this.#happened = false;
  }
}
