import type { FlushedFile } from '#src/adapters/audit/contract.ts';
import type { EventPosition } from '#src/ports/audit.ts';
import type { Log } from '#src/ports/telemetry.ts';

export interface TrailReleaseOptions {
  readonly audit: Pick<FlushedFile, 'release'>;
  readonly log: Log;
  /** Rows after this one are needed yet: a crash now would have to name them. */
  readonly keepAfter: () => EventPosition;
  readonly onReleased?: () => void;
}

const ROWS_PER_STEP = 256;

/** Takes flushed rows out of the file, in steps so small that nobody waits for one. */
export class TrailRelease {
  readonly #options: TrailReleaseOptions;
  #running = false;
  /** Who reads the rows in order, bit by bit. */
  #readers = 0;

  constructor(options: TrailReleaseOptions) {
    this.#options = options;
  }

  /** No row leaves while `read` is at it. */
  async whileReading<T>(read: () => Promise<T>): Promise<T> {
    this.#readers += 1;
    this.#running = false;
    try {
      return await read();
    } finally {
      this.#readers -= 1;
      this.begin();
    }
  }

  begin(): void {
    if (this.#running || this.#readers > 0) return;
    this.#running = true;
    this.#later();
  }

  stop(): void {
    this.#running = false;
  }

  /** Two turns between steps, so that what waits for a commit gets one first. */
  #later(): void {
    setImmediate(() => setImmediate(() => this.#step()));
  }

  #step(): void {
    if (!this.#running) return;
    const { audit, log, keepAfter } = this.#options;
    try {
      this.#running = audit.release(ROWS_PER_STEP, keepAfter());
      if (this.#running) this.#options.onReleased?.();
    } catch (error) {
      this.#running = false;
      log.warn('flushed events could not be taken out of the audit file yet', { error: String(error) });
    }
    if (this.#running) this.#later();
  }
}
