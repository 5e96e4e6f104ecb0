import type { Log, Metrics } from '#src/ports/telemetry.ts';

/** Counts by name and labels. */
export class CountingMetrics implements Metrics {
  readonly counts = new Map<string, number>();

  count(...key: readonly string[]): number {
    return this.counts.get(key.join(' ')) ?? 0;
  }

  challengeEnded(method: string, state: string, reason: string): void {
    this.#add(1, 'challengeEnded', method, state, reason);
  }
  proof(method: string, result: string): void {
    this.#add(1, 'proof', method, result);
  }
  validation(result: string, source: string): void {
    this.#add(1, 'validation', result, source);
  }
  sessionEnded(reason: string): void {
    this.#add(1, 'sessionEnded', reason);
  }
  events(type: string, outcome: string, count: number): void {
    this.#add(count, 'events', type, outcome);
  }
  eventsLost(count: number): void {
    this.#add(count, 'eventsLost');
  }
  eventFolded(): void {
    this.#add(1, 'eventFolded');
  }
  riskSignal(signal: string): void {
    this.#add(1, 'riskSignal', signal);
  }
  delivery(method: string, status: string, reason: string): void {
    this.#add(1, 'delivery', method, status, reason);
  }
  push(outcome: string, reason: string): void {
    this.#add(1, 'push', outcome, reason);
  }
  sms(outcome: string, reason: string): void {
    this.#add(1, 'sms', outcome, reason);
  }
  smsRetried(): void {
    this.#add(1, 'smsRetried');
  }
  smsWaiting(change: 1 | -1): void {
    this.#add(change, 'smsWaiting');
  }

  #add(by: number, ...key: readonly string[]): void {
    this.counts.set(key.join(' '), this.count(...key) + by);
  }
}

/** Keeps every line as text. */
export class RecordingLog implements Log {
  readonly lines: string[] = [];

  debug(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#add('debug', message, fields);
  }
  info(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#add('info', message, fields);
  }
  warn(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#add('warn', message, fields);
  }
  error(message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#add('error', message, fields);
  }

  #add(level: string, message: string, fields: Readonly<Record<string, unknown>>): void {
    this.lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  }
}
