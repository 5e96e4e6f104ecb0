import type { AuditLog, BufferStatus } from '#src/ports/audit.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { Gauge } from './tally.ts';

/** The part of a bound from which on somebody has to do something. */
const NEARLY = 0.8;

/**
 * What the audit buffer last said of itself: for readiness, as metrics, and as an alarm before its bound is reached. Metrics
 * show the last values that were read.
 */
export class AuditBufferWatch {
  readonly #audit: Pick<AuditLog, 'status'>;
  readonly #log: Log;
  #last: BufferStatus | undefined;
  #answers = false;
  #isNearlyFull = false;
  #isNearlyLate = false;

  constructor(audit: Pick<AuditLog, 'status'>, log: Log) {
    this.#audit = audit;
    this.#log = log;
  }

  /** undefined when the buffer does not answer. */
  async read(): Promise<BufferStatus | undefined> {
    const status = await this.#audit.status().catch(() => undefined);
    this.#answers = status !== undefined;
    if (status) {
      this.#last = status;
      this.#alarm(status);
    }
    return status;
  }

  get gauges(): readonly Gauge[] {
    const value = (name: string, help: string, read: (status: BufferStatus) => number): Gauge => ({
      name,
      help,
      kind: 'gauge',
      read: () => (this.#last ? read(this.#last) : 0),
    });
    return [
      {
        ...value('audit_accepted_total', 'Events taken in since the start.', ({ accepted }) => accepted),
        kind: 'counter',
      },
      value('audit_durable_sequence', 'The last event that is durable on disk.', (status) => status.durableSequence),
      value(
        'audit_flushed_sequence',
        'The last event that left for its final store.',
        (status) => status.flushedSequence,
      ),
      value(
        'audit_anchored_sequence',
        'The last event under a signed checkpoint.',
        (status) => status.anchoredSequence,
      ),
      value('audit_buffer_bytes', 'What is in use of the local audit buffer.', ({ bytes }) => bytes),
      value('audit_buffer_max_bytes', 'Size at which nothing is granted any more.', ({ maxBytes }) => maxBytes),
      value('audit_backlog_events', 'Events that wait for central storage.', ({ waiting }) => waiting?.events ?? 0),
      value('audit_backlog_bytes', 'Size of the events that wait for central storage.', (status) => {
        return status.waiting?.bytes ?? 0;
      }),
      value('audit_backlog_seconds', 'Age of the oldest event that waits for central storage.', ({ waiting }) => {
        return (waiting?.ageMs ?? 0) / 1_000;
      }),
      value('audit_backlog_max_seconds', 'Age at which nothing is granted any more; 0 for none.', ({ waiting }) => {
        return (waiting?.maxAgeMs ?? 0) / 1_000;
      }),
      {
        name: 'audit_writable',
        help: '1 while the audit buffer takes events; at 0 nothing is granted.',
        kind: 'gauge',
        read: () => (this.#answers && this.#last?.writable ? 1 : 0),
      },
    ];
  }

  /** Once, until there is room again. */
  #alarm({ bytes, maxBytes, waiting }: BufferStatus): void {
    const isNearlyFull = bytes >= maxBytes * NEARLY;
    if (isNearlyFull && !this.#isNearlyFull) {
      this.#log.error('the audit buffer is nearly full; at its bound nothing is granted any more', { bytes, maxBytes });
    }
    this.#isNearlyFull = isNearlyFull;
    const isNearlyLate = waiting !== undefined && waiting.ageMs >= waiting.maxAgeMs * NEARLY;
    if (isNearlyLate && !this.#isNearlyLate) {
      const { ageMs, maxAgeMs, events } = waiting;
      const message = 'audit events wait long for central storage; at their bound nothing is granted any more';
      this.#log.error(message, { ageMs, maxAgeMs, events });
    }
    this.#isNearlyLate = isNearlyLate;
  }
}
