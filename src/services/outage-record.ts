import type { EventDraft, EventType } from '../domain/audit-event.ts';
import type { DurationMs, EpochMs } from '../domain/time.ts';
import type { DependencyName } from '../ports/dependencies.ts';
import type { Clock } from '../ports/runtime.ts';
import type { Log, Metrics } from '../ports/telemetry.ts';
import type { Trail } from './trail.ts';

export interface OutageRecordDependencies {
  readonly trail: Pick<Trail, 'draft' | 'append'>;
  readonly clock: Clock;
  readonly metrics: Pick<Metrics, 'eventsLost'>;
  readonly log: Log;
}

/** Events that may wait; after that repeats go into the count of one that waits. */
const MAX_WAITING = 64;
const FIRST_RETRY: DurationMs = 1_000;
const LONGEST_RETRY: DurationMs = 30_000;

/**
 * Writes down when outages began and ended. The trail may be what cannot take events meanwhile, so they wait, in order, with
 * the time at which it happened.
 */
export class OutageRecord {
  readonly #deps: OutageRecordDependencies;
  #waiting: EventDraft[] = [];
  #writing: Promise<void> | undefined;
  #cancelRetry: (() => void) | undefined;
  #retryMs = FIRST_RETRY;
  #stopped = false;

  constructor(deps: OutageRecordDependencies) {
    this.#deps = deps;
  }

  /** How many events the trail has not taken yet. */
  get waiting(): number {
    return this.#waiting.reduce((sum, { count = 1 }) => sum + count, 0);
  }

  entered(dependency: DependencyName, since: EpochMs): void {
    this.#add('outage.entered', { dependency, since_ms: String(since) });
  }

  left(dependency: DependencyName, since: EpochMs, lastedMs: DurationMs): void {
    const duration_ms = String(Math.round(lastedMs));
    this.#add('outage.left', { dependency, since_ms: String(since), duration_ms });
  }

  /** Tries once more and gives up; what is lost is counted and logged. Before the trail closes. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelRetry?.();
    await this.#writing;
    await this.#write();
    const count = this.waiting;
    if (count === 0) return;
    this.#waiting = [];
    this.#deps.metrics.eventsLost(count);
    this.#deps.log.warn('events about outages could not be recorded before the stop', { count });
  }

  #add(type: EventType, facts: Readonly<Record<string, string>>): void {
    const { trail } = this.#deps;
    const event = trail.draft(type, undefined, {
      realm: '',
      outcome: type === 'outage.entered' ? 'FAILED' : 'INFO',
      facts,
    });
    if (this.#waiting.length < MAX_WAITING) this.#waiting.push(event);
    else this.#fold(event);
    if (this.#cancelRetry === undefined) this.#begin();
  }

  /** The newest event of its kind tells of it too. The first one is on its way and stays as it is. */
  #fold(event: EventDraft): void {
    const { dependency } = event.facts ?? {};
    const like = this.#waiting.findLastIndex(
      (one, index) => index > 0 && one.type === event.type && one.facts?.['dependency'] === dependency,
    );
    const into = this.#waiting[like];
    if (into === undefined) this.#waiting.push(event);
    else this.#waiting[like] = { ...into, count: (into.count ?? 1) + 1 };
  }

  #begin(): void {
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
      if (this.#waiting.length > 0 && !this.#stopped) this.#retryLater();
    });
  }

  async #write(): Promise<void> {
    const { trail, log } = this.#deps;
    for (;;) {
      const [event] = this.#waiting;
      if (event === undefined) return;
      try {
        await trail.append(event);
      } catch (error) {
        log.debug('an event about an outage has to wait', { type: event.type, error: String(error) });
        return;
      }
      this.#waiting.shift();
      this.#retryMs = FIRST_RETRY;
    }
  }

  #retryLater(): void {
    this.#cancelRetry = this.#deps.clock.schedule(this.#retryMs, () => {
      this.#cancelRetry = undefined;
      this.#begin();
    });
    this.#retryMs = Math.min(2 * this.#retryMs, LONGEST_RETRY);
  }
}
