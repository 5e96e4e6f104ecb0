import type { Worker } from 'node:worker_threads';
import { Fault } from '#src/domain/faults.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { EventTally } from '#src/ports/audit.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { type Answer, type Call, type FromWorker, faultFromData, processMs, type ToWorker } from './protocol.ts';

export interface WorkerChannelOptions {
  readonly worker: Worker;
  readonly log: Log;
  /** How long a call may take. */
  readonly timeoutMs: DurationMs;
  /** How many calls may be in the worker at once, those that timed out included. */
  readonly maxPending: number;
  /** Called once, when the worker is gone though nobody closed it. */
  readonly onFatal: (error: Error) => void;
  readonly onAppend: (written: readonly EventTally[]) => void;
}

interface Pending {
  readonly expiresAt: number;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Fault) => void;
}

/**
 * Calls into the worker. All calls of one turn of the event loop go out in one message. Bounded: over the bound, after
 * the timeout and after the worker's death a call rejects with Fault(unavailable, STORE_UNAVAILABLE).
 */
export class WorkerChannel {
  readonly #options: WorkerChannelOptions;
  /** In order of their deadlines, since all have the same timeout. A call stays, without hope, until it is answered. */
  readonly #pending = new Map<number, Pending>();
  readonly #waiting = new Map<number, Pending>();
  #outbox: Call[] = [];
  #lastId = 0;
  #timer: NodeJS.Timeout | undefined;
  #state: 'starting' | 'open' | 'closing' | 'gone' = 'starting';
  readonly #started = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();

  constructor(options: WorkerChannelOptions) {
    this.#options = options;
    const { worker } = options;
    worker.on('message', (message: FromWorker) => this.#receive(message));
    worker.on('messageerror', (error) => this.#die(error));
    worker.on('error', (error) => this.#die(error instanceof Error ? error : new Error(String(error))));
    worker.on('exit', (code) => this.#die(new Error(`the storage worker stopped with exit code ${code}`)));
  }

  /** No call will ever be answered again. */
  get isGone(): boolean {
    return this.#state === 'gone' || this.#state === 'closing';
  }

  /** Resolves once the worker serves; rejects with its Fault if it could not start, or after this time. */
  async started(timeoutMs: DurationMs): Promise<void> {
    const timer = setTimeout(() => {
      this.#started.reject(unavailable(`the local store did not start in time (${timeoutMs} ms)`));
    }, timeoutMs);
    try {
      await this.#started.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  call(port: Call['port'], method: string, args: readonly unknown[]): Promise<unknown> {
    if (this.#state !== 'open') return Promise.reject(unavailable('the local store is closed'));
    if (this.#pending.size >= this.#options.maxPending) {
      return Promise.reject(unavailable('too many calls are waiting for the local store'));
    }
    return new Promise((resolve, reject) => {
      this.#lastId += 1;
      const pending = { expiresAt: processMs() + this.#options.timeoutMs, resolve, reject };
      this.#pending.set(this.#lastId, pending);
      this.#waiting.set(this.#lastId, pending);
      if (this.#outbox.length === 0) setImmediate(() => this.#flush());
      this.#outbox.push({ id: this.#lastId, port, method, args: args.map(compact) });
      this.#watch();
    });
  }

  /** Lets the worker finish what it has and close its files; ends it by force after the timeout. */
  async close(): Promise<void> {
    if (this.#state === 'open') {
      this.#flush();
      this.#state = 'closing';
      this.#send({ kind: 'close' });
      const force = setTimeout(() => void this.#options.worker.terminate(), this.#options.timeoutMs);
      await this.#ended.promise;
      clearTimeout(force);
    }
    // Whatever happens to a worker that never served was told already.
    if (this.#state === 'starting') this.#state = 'closing';
    await this.#options.worker.terminate();
  }

  #flush(): void {
    if (this.#outbox.length === 0 || this.#state === 'gone') return;
    const calls = this.#outbox;
    this.#outbox = [];
    this.#send({ kind: 'calls', calls, expiresAt: processMs() + this.#options.timeoutMs });
  }

  #send(message: ToWorker): void {
    this.#options.worker.postMessage(message);
  }

  #receive(message: FromWorker): void {
    switch (message.kind) {
      case 'answers':
        for (const answer of message.answers) this.#settle(answer);
        return;
      case 'appended':
        this.#options.onAppend(message.written);
        return;
      case 'log':
        this.#options.log[message.level](message.message, message.fields);
        return;
      case 'ready':
        this.#state = 'open';
        this.#started.resolve();
        return;
      case 'refused':
        this.#state = 'closing';
        this.#started.reject(faultFromData(message.fault));
        return;
      case 'closed':
        this.#end(unavailable('the local store is closed'));
    }
  }

  #settle(answer: Answer): void {
    const pending = this.#pending.get(answer.id);
    this.#pending.delete(answer.id);
    this.#waiting.delete(answer.id);
    if (!pending) return;
    if ('value' in answer) pending.resolve(answer.value);
    else pending.reject(faultFromData(answer.fault));
  }

  #watch(): void {
    if (this.#timer) return;
    const [first] = this.#waiting.values();
    if (!first) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const now = processMs();
      for (const [id, pending] of this.#waiting) {
        if (pending.expiresAt > now) break;
        this.#waiting.delete(id);
        pending.reject(
          unavailable('the local store did not answer in time; the call may or may not have taken effect'),
        );
      }
      this.#watch();
    }, first.expiresAt - processMs());
    this.#timer.unref();
  }

  #die(cause: Error): void {
    const expected = this.#state === 'closing' || this.#state === 'gone';
    this.#end(unavailable('the local store is gone', cause));
    if (!expected) this.#options.onFatal(cause);
  }

  #end(fault: Fault): void {
    if (this.#state === 'gone') return;
    this.#state = 'gone';
    clearTimeout(this.#timer);
    for (const pending of this.#waiting.values()) pending.reject(fault);
    this.#waiting.clear();
    this.#pending.clear();
    this.#outbox = [];
    this.#started.reject(fault);
    this.#ended.resolve();
  }
}

/** Cloning a view clones the whole buffer under it, and small Buffers share one; so views are copied out first. */
function compact(value: unknown): unknown {
  if (value instanceof Uint8Array) return new Uint8Array(value);
  if (Array.isArray(value)) return value.map(compact);
  if (typeof value !== 'object' || value === null || value instanceof Map) return value;
  const copy: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value)) copy[name] = compact(member);
  return copy;
}

function unavailable(message: string, cause?: unknown): Fault {
  return new Fault('unavailable', 'STORE_UNAVAILABLE', message, {
    retryAfterMs: 1_000,
    ...(cause !== undefined && { cause }),
  });
}
