import { Fault } from '../domain/faults.ts';
import type { DurationMs } from '../domain/time.ts';
import type { Clock } from '../ports/runtime.ts';
import { type EndCause, endFault, type LiveCall } from './live-call.ts';

/** Where the messages of a stream go; one of `finish` and `fail` is called at last, once. */
export interface StreamSink {
  /** Takes the message. False asks to wait until `Pump.room` is called. May throw if it cannot be encoded. */
  send(message: unknown): boolean;
  finish(): void;
  fail(fault: Fault): void;
}

export interface PumpOptions {
  readonly clock: Clock;
  /** How long a reader may take nothing. */
  readonly stallMs: DurationMs;
  /** How long a stream may take for its last messages once the server is stopping. */
  readonly shutdownGraceMs: DurationMs;
  /** Turns what a handler threw into what the caller may see. */
  readonly toFault: (thrown: unknown) => Fault;
}

/**
 * Moves the messages of a streaming handler to the wire, one pull at a time: nothing is pulled while the reader is behind,
 * so a stream holds a bounded number of messages. It answers at once when the call is cancelled or late, whatever the
 * handler does; after a shutdown it goes on pulling for a while, so that the handler can say its last word.
 */
export class Pump {
  readonly #call: LiveCall;
  readonly #sink: StreamSink;
  readonly #options: PumpOptions;
  #iterator: AsyncIterator<unknown> | undefined;
  #closed = false;
  #waiting = false;
  #cancelStall: (() => void) | undefined;
  #cancelGrace: (() => void) | undefined;

  constructor(call: LiveCall, sink: StreamSink, options: PumpOptions) {
    this.#call = call;
    this.#sink = sink;
    this.#options = options;
    call.onEnd = (cause) => this.#ended(cause);
  }

  start(handler: () => unknown): void {
    if (this.#call.ended) {
      this.#close(endFault(this.#call.ended));
      return;
    }
    try {
      this.#iterator = (handler() as AsyncIterable<unknown>)[Symbol.asyncIterator]();
    } catch (thrown) {
      this.#close(this.#options.toFault(thrown));
      return;
    }
    this.#pull();
  }

  /** The reader caught up. */
  room(): void {
    if (!this.#waiting || this.#closed) return;
    this.#waiting = false;
    this.#cancelStall?.();
    this.#cancelStall = undefined;
    this.#pull();
  }

  /** Ends the stream with a fault of the transport's finding, for instance a message that breaks its rules. */
  abort(fault: Fault): void {
    this.#close(fault);
  }

  #pull(): void {
    let next: Promise<IteratorResult<unknown>> | undefined;
    try {
      next = this.#iterator?.next();
    } catch (thrown) {
      this.#threw(thrown);
      return;
    }
    next?.then(this.#deliver, this.#threw);
  }

  readonly #deliver = (result: IteratorResult<unknown>): void => {
    if (this.#closed) return;
    if (result.done) {
      this.#iterator = undefined;
      this.#close(undefined);
      return;
    }
    let room: boolean;
    try {
      room = this.#sink.send(result.value);
    } catch (thrown) {
      this.#close(this.#options.toFault(thrown));
      return;
    }
    if (room) {
      this.#pull();
      return;
    }
    this.#waiting = true;
    this.#cancelStall = this.#options.clock.schedule(this.#options.stallMs, () => {
      this.#close(
        new Fault('limited', 'READER_TOO_SLOW', 'the stream was not read for too long; open it again and read on', {
          quota: { subject: 'stream', description: 'messages that wait to be read' },
        }),
      );
    });
  };

  readonly #threw = (thrown: unknown): void => {
    if (this.#closed) return;
    this.#iterator = undefined;
    // A handler that was told to stop often ends with whatever its abort signal threw.
    const { ended } = this.#call;
    this.#close(ended && !(thrown instanceof Fault) ? endFault(ended) : this.#options.toFault(thrown));
  };

  #ended(cause: EndCause): void {
    if (this.#closed) return;
    if (cause !== 'shutdown') {
      this.#close(endFault(cause));
      return;
    }
    this.#cancelGrace = this.#options.clock.schedule(this.#options.shutdownGraceMs, () =>
      this.#close(endFault('shutdown')),
    );
  }

  #close(fault: Fault | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelStall?.();
    this.#cancelGrace?.();
    this.#call.onEnd = undefined;
    if (fault) {
      this.#call.release();
      this.#sink.fail(fault);
    } else {
      this.#sink.finish();
    }
    // Runs the handler's `finally`; it may wait for what the handler waits for, and nobody waits for it.
    try {
      this.#iterator?.return?.()?.catch(() => {});
    } catch {
      // An iterator that cannot be closed has nothing to close.
    }
  }
}
