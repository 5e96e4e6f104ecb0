import type { Fault } from '../../domain/faults.ts';

/**
 * The messages of a bidirectional call for its handler. Asks the wire for the next message only when the handler took the
 * one before, so at most one waits here. Ends when the caller half-closes; throws the fault when the call ends otherwise.
 */
export class RequestStream implements AsyncIterableIterator<object> {
  readonly #read: () => void;
  readonly #waiting: { resolve: (result: IteratorResult<object>) => void; reject: (fault: Fault) => void }[] = [];
  #next: object | undefined;
  #done = false;
  #fault: Fault | undefined;

  /** `read` asks for one more message. One is asked for before the handler comes: do not call it for that one. */
  constructor(read: () => void) {
    this.#read = read;
  }

  push(message: object): void {
    const waiter = this.#waiting.shift();
    if (!waiter) {
      this.#next = message;
      return;
    }
    waiter.resolve({ done: false, value: message });
    this.#read();
  }

  close(): void {
    this.#done = true;
    for (const waiter of this.#waiting.splice(0)) waiter.resolve({ done: true, value: undefined });
  }

  fail(fault: Fault): void {
    if (this.#done) return;
    this.#fault = fault;
    this.#next = undefined;
    for (const waiter of this.#waiting.splice(0)) waiter.reject(fault);
  }

  next(): Promise<IteratorResult<object>> {
    if (this.#fault) return Promise.reject(this.#fault);
    if (this.#next) {
      const value = this.#next;
      this.#next = undefined;
      this.#read();
      return Promise.resolve({ done: false, value });
    }
    if (this.#done) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<object>> {
    this.#next = undefined;
    this.close();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
