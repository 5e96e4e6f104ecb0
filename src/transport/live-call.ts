import type { Caller } from '../domain/caller.ts';
import { Fault } from '../domain/faults.ts';
import type { DurationMs } from '../domain/time.ts';
import type { Clock } from '../ports/runtime.ts';
import type { CallContext, Protocol } from './call.ts';
import type { Endpoint } from './endpoint.ts';

export type EndCause = 'cancelled' | 'deadline' | 'shutdown';

/** A call from its headers to its final status. Handlers see it as their CallContext. */
export class LiveCall implements CallContext {
  readonly endpoint: Endpoint;
  readonly protocol: Protocol;
  /** By `Clock.monotonic`. */
  readonly startedAt: number;
  caller: Caller;
  ended: EndCause | undefined;
  /** By `Clock.monotonic`; Infinity without one. */
  deadlineAt = Number.POSITIVE_INFINITY;
  /** False until the first message of the request is here. */
  received = false;
  /** True once the final status is decided. */
  settled = false;
  /** True while it counts as an open stream. */
  counted = false;
  /** Cancels the timer of the deadline, where there is one. */
  cancelDeadline: (() => void) | undefined;
  /** Told once for each cause, by whoever answers the call. */
  onEnd: ((cause: EndCause) => void) | undefined;
  /** Told when the final status is decided. */
  onSettled: ((fault: Fault | undefined) => void) | undefined;
  readonly #clock: Clock;
  #controller: AbortController | undefined;

  constructor(endpoint: Endpoint, protocol: Protocol, caller: Caller, clock: Clock) {
    this.endpoint = endpoint;
    this.protocol = protocol;
    this.caller = caller;
    this.#clock = clock;
    this.startedAt = clock.monotonic();
  }

  get procedure(): string {
    return this.endpoint.procedure;
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.ended) this.#controller.abort(endFault(this.ended));
    }
    return this.#controller.signal;
  }

  remainingMs(): DurationMs {
    return Math.max(0, this.deadlineAt - this.#clock.monotonic());
  }

  /** A shutdown can still be followed by a cancellation or the deadline; everything else happens once. */
  end(cause: EndCause): void {
    if (this.settled || (this.ended !== undefined && (this.ended !== 'shutdown' || cause === 'shutdown'))) return;
    this.ended = cause;
    this.#controller?.abort(endFault(cause));
    this.onEnd?.(cause);
  }

  /** Lets go of a handler whose answer nobody waits for any more. */
  release(): void {
    this.ended ??= 'cancelled';
    this.#controller?.abort(endFault(this.ended));
  }
}

/** The status of a call that ended before its handler did. */
export function endFault(cause: EndCause): Fault {
  switch (cause) {
    case 'cancelled':
      return new Fault('cancelled', 'CANCELLED', 'the caller cancelled the call');
    case 'deadline':
      return new Fault('deadline', 'DEADLINE_EXCEEDED', 'the deadline passed before the call was done');
    case 'shutdown':
      return shuttingDown();
  }
}

export function shuttingDown(): Fault {
  return new Fault('unavailable', 'SHUTTING_DOWN', 'the server is stopping; go on elsewhere or after the restart', {
    retryAfterMs: 1_000,
  });
}
