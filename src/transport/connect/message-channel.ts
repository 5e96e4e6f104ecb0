import type { Message } from '@bufbuild/protobuf';
import type { Fault } from '../../domain/faults.ts';
import type { StreamSink } from '../pump.ts';

export interface MessageChannelOptions {
  /** Makes a whole message of what a handler yields. Throws if it cannot be encoded. */
  readonly complete: (message: unknown) => Message;
  /** The reader took the message that waited. */
  readonly room: () => void;
  /** The final status is decided; undefined is success. */
  readonly settle: (fault: Fault | undefined) => void;
  readonly toError: (fault: Fault) => Error;
}

/** Between a pump, which pushes, and a protocol, which pulls. At most one message waits in it. */
export class MessageChannel implements StreamSink, AsyncIterableIterator<Message> {
  readonly #options: MessageChannelOptions;
  #message: Message | undefined;
  #waiting: { resolve: (result: IteratorResult<Message>) => void; reject: (error: Error) => void } | undefined;
  #closed: { readonly error?: Error } | undefined;

  constructor(options: MessageChannelOptions) {
    this.#options = options;
  }

  send(message: unknown): boolean {
    const complete = this.#options.complete(message);
    if (!this.#waiting) {
      this.#message = complete;
      return false;
    }
    this.#waiting.resolve({ done: false, value: complete });
    this.#waiting = undefined;
    return true;
  }

  finish(): void {
    this.#close(undefined);
  }

  fail(fault: Fault): void {
    this.#close(fault);
  }

  next(): Promise<IteratorResult<Message>> {
    const message = this.#message;
    if (message) {
      this.#message = undefined;
      this.#options.room();
      return Promise.resolve({ done: false, value: message });
    }
    if (this.#closed?.error) return Promise.reject(this.#closed.error);
    if (this.#closed) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #close(fault: Fault | undefined): void {
    this.#options.settle(fault);
    const error = fault ? this.#options.toError(fault) : undefined;
    this.#closed = error ? { error } : {};
    if (error) this.#waiting?.reject(error);
    else this.#waiting?.resolve({ done: true, value: undefined });
    this.#waiting = undefined;
  }
}
