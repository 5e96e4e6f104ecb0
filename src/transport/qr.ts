import { Worker } from 'node:worker_threads';
import { Fault } from '#src/domain/faults.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';

export type QrFormat = 'png' | 'svg' | 'terminal';

export interface QrImages {
  readonly png?: Uint8Array;
  /** A whole document. */
  readonly svg?: string;
  /** Lines of half blocks with their colours set. */
  readonly terminal?: string;
}

/** To the thread that draws. */
export interface QrJob {
  readonly id: number;
  readonly text: string;
  readonly formats: readonly QrFormat[];
}

/** From the thread that draws. */
export type QrReply =
  | { readonly id: number; readonly images: QrImages }
  | { readonly id: number; readonly error: string };

export interface QrOptions {
  /** Drawings that may be waiting; one more is refused. */
  readonly maxWaiting: number;
  /** A drawing that takes longer ends the thread, and with it every other one. */
  readonly timeoutMs: DurationMs;
  /** The thread ends after this time without work. */
  readonly idleMs: DurationMs;
}

const DEFAULTS: QrOptions = { maxWaiting: 64, timeoutMs: 5_000, idleMs: 30_000 };

interface Waiting {
  readonly resolve: (images: QrImages) => void;
  readonly reject: (fault: Fault) => void;
  readonly cancelTimeout: () => void;
}

/** Draws QR codes in a worker thread that is started when it is needed. */
export class QrRenderer {
  readonly #options: QrOptions;
  readonly #clock: Clock;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #cancelIdle = () => {};
  #nextId = 1;

  constructor({ clock, ...options }: { readonly clock: Clock } & Partial<QrOptions>) {
    this.#clock = clock;
    this.#options = { ...DEFAULTS, ...options };
  }

  /**
   * The text in each of the formats. Throws Fault(limited, LIMIT_EXCEEDED) when too many wait, and
   * Fault(unavailable, INTERNAL) when the thread fails or takes too long.
   */
  async render(text: string, formats: readonly QrFormat[]): Promise<QrImages> {
    if (formats.length === 0) return {};
    const { maxWaiting, timeoutMs } = this.#options;
    if (this.#waiting.size >= maxWaiting) {
      const quota = { subject: 'qr_drawings', description: `at most ${maxWaiting} may wait` };
      throw new Fault('limited', 'LIMIT_EXCEEDED', 'too many QR codes are being drawn', { quota });
    }
    this.#cancelIdle();
    const worker = this.#worker ?? this.#start();
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const cancelTimeout = this.#clock.schedule(timeoutMs, () => this.#abandon(worker, 'took too long'));
      this.#waiting.set(id, { resolve, reject, cancelTimeout });
      const job: QrJob = { id, text, formats };
      worker.postMessage(job);
    });
  }

  /** Ends the thread; drawings that wait are refused. */
  async close(): Promise<void> {
    const worker = this.#worker;
    if (worker) await this.#abandon(worker, 'is stopping');
  }

  #start(): Worker {
    const name = import.meta.url.endsWith('.ts') ? './qr-worker.ts' : './qr-worker.mjs';
    const worker = new Worker(new URL(name, import.meta.url), {
      name: 'qr',
      execArgv: [],
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: 64 },
    });
    worker.unref();
    worker.on('message', (reply: QrReply) => this.#finish(worker, reply));
    worker.on('error', (error: unknown) => this.#abandon(worker, 'failed', error));
    worker.on('exit', () => this.#abandon(worker, 'ended'));
    this.#worker = worker;
    return worker;
  }

  #finish(worker: Worker, reply: QrReply): void {
    const waiting = this.#waiting.get(reply.id);
    if (!waiting || worker !== this.#worker) return;
    this.#waiting.delete(reply.id);
    waiting.cancelTimeout();
    if ('images' in reply) waiting.resolve(reply.images);
    else waiting.reject(undrawn('could not draw it', reply.error));
    if (this.#waiting.size > 0) return;
    this.#cancelIdle = this.#clock.schedule(this.#options.idleMs, () => this.#abandon(worker, 'ended'));
  }

  async #abandon(worker: Worker, why: string, cause?: unknown): Promise<void> {
    if (worker !== this.#worker) return;
    this.#worker = undefined;
    this.#cancelIdle();
    for (const { reject, cancelTimeout } of this.#waiting.values()) {
      cancelTimeout();
      reject(undrawn(why, cause));
    }
    this.#waiting.clear();
    await worker.terminate();
  }
}

function undrawn(why: string, cause: unknown): Fault {
  return new Fault('unavailable', 'INTERNAL', `the thread that draws QR codes ${why}`, { cause });
}
