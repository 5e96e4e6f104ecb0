import type { MessagePort } from 'node:worker_threads';
import type { EventDraft } from '#src/domain/audit-event.ts';
import type { EventTally } from '#src/ports/audit.ts';
import type { Log } from '#src/ports/telemetry.ts';
import {
  type Answer,
  type Call,
  type FromWorker,
  faultToData,
  PORT_METHODS,
  processMs,
  type ToWorker,
  type WorkerPorts,
  type WorkerSettings,
} from './protocol.ts';
import { openWorkerStorage, type WorkerSeams, type WorkerStorage } from './worker-storage.ts';
import { openWorkerTrail } from './worker-trail.ts';

/** Serves the local files to the main thread over `port`: calls in, answers of each turn of the event loop out together. */
export class WorkerServer {
  readonly #port: MessagePort;
  #storage: WorkerStorage | undefined;
  #answers: Answer[] = [];
  /** By type and outcome; undefined while nothing was appended. */
  #written: Map<string, EventTally> | undefined;
  #flushing = false;

  constructor(port: MessagePort) {
    this.#port = port;
  }

  /** Opens the files and begins to serve. What goes wrong is told to the main thread. */
  async start(settings: WorkerSettings, seams: WorkerSeams = {}): Promise<void> {
    try {
      const options = {
        ...settings,
        log: this.#log(),
        seams,
        onAppend: (events: readonly EventDraft[]) => this.#appended(events),
      };
      const { trail } = settings;
      this.#storage = await (trail ? openWorkerTrail(options, trail) : openWorkerStorage(options));
    } catch (error) {
      this.#post({ kind: 'refused', fault: faultToData(error) });
      this.#port.close();
      return;
    }
    this.#port.on('message', (message: ToWorker) => {
      if (message.kind === 'close') void this.#close();
      // A call that nobody waits for any more must not take effect.
      else if (processMs() < message.expiresAt) for (const call of message.calls) void this.#serve(call);
    });
    this.#post({ kind: 'ready' });
  }

  async #serve(call: Call): Promise<void> {
    try {
      this.#answer({ id: call.id, value: await this.#invoke(call) });
    } catch (error) {
      this.#answer({ id: call.id, fault: faultToData(error) });
    }
  }

  #invoke({ port, method, args }: Call): unknown {
    const ports: Partial<WorkerPorts> = this.#storage?.ports ?? {};
    const target = ports[port] as unknown as
      | Readonly<Record<string, (...args: readonly unknown[]) => unknown>>
      | undefined;
    if (!target || !Object.hasOwn(PORT_METHODS[port], method)) throw new Error(`no such call: ${port}.${method}`);
    return target[method]?.(...args);
  }

  #answer(answer: Answer): void {
    this.#answers.push(answer);
    this.#flushSoon();
  }

  #appended(events: readonly EventDraft[]): void {
    this.#written ??= new Map();
    for (const { type, outcome } of events) {
      const key = `${type} ${outcome}`;
      const count = (this.#written.get(key)?.count ?? 0) + 1;
      this.#written.set(key, { type, outcome, count });
    }
    this.#flushSoon();
  }

  #flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      const answers = this.#answers;
      this.#answers = [];
      if (answers.length > 0) this.#post({ kind: 'answers', answers });
      if (this.#written) this.#post({ kind: 'appended', written: [...this.#written.values()] });
      this.#written = undefined;
    });
  }

  async #close(): Promise<void> {
    await this.#storage?.close();
    // Behind the answers of the last batch.
    setImmediate(() => {
      this.#post({ kind: 'closed' });
      this.#port.close();
    });
  }

  #post(message: FromWorker): void {
    this.#port.postMessage(message);
  }

  #log(): Log {
    const at =
      (level: keyof Log) =>
      (message: string, fields: Readonly<Record<string, unknown>> = {}) =>
        this.#post({ kind: 'log', level, message, fields: { ...fields } });
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
  }
}
