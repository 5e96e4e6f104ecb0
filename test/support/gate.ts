/**
 * Holds something up until it is opened, at the latest at the end of the block: with `using` after what would wait for it
 * for ever, so that an assertion that fails is what is told.
 */
export class Gate implements Disposable {
  readonly opened: Promise<void>;
  readonly open: () => void;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.opened = promise;
    this.open = resolve;
  }

  [Symbol.dispose](): void {
    this.open();
  }
}
