import type { SqlExecutor } from '#src/adapters/sql/executor.ts';
import { whole } from '#src/adapters/sql/row.ts';
import { type DurationMs, MINUTE, SECOND } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';

/**
 * Each sidecar judges by its own clock what another one has written by its own: when a lock, a session, a receipt is over.
 * So clocks that differ make limits looser by as much. All are compared with the clock of the database.
 */

/** From here on lifetimes are noticeably longer or shorter, and the log says so. */
export const NOTED_SKEW_MS = 2_000;
/** From here on an end of all sessions of a person may miss one that began before; see `names` of pending ends. */
export const MOST_SKEW_MS = 10_000;

const SAMPLES = 3;

/**
 * By how much the clock of the database is ahead of ours: of several answers the one with the shortest way, whose time
 * stands in the middle between question and answer.
 */
export async function measureSkew(sql: Pick<SqlExecutor, 'read'>, clock: Clock): Promise<DurationMs> {
  let best = { wayMs: Number.POSITIVE_INFINITY, skewMs: 0 };
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    const [asked, from] = [clock.now(), clock.monotonic()];
    const [row] = await sql.read('SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now');
    const wayMs = clock.monotonic() - from;
    if (row && wayMs < best.wayMs) best = { wayMs, skewMs: Math.round(whole(row, 'now') - (asked + wayMs / 2)) };
  }
  return best.skewMs;
}

export function clocksDiffer(skewMs: DurationMs): string {
  const [seconds, which] = [Math.round(Math.abs(skewMs) / 1_000), skewMs > 0 ? 'behind' : 'ahead of'];
  return `the clock of this machine is ${seconds} s ${which} that of PostgreSQL, so locks, sessions and receipts would not last as long as they must: set both by a time service`;
}

export interface ClockWatchOptions {
  readonly sql: Pick<SqlExecutor, 'read'>;
  readonly clock: Clock;
  readonly log: Log;
  /** As measured at the start. */
  readonly skewMs: DurationMs;
  /** A minute if absent. */
  readonly everyMs?: DurationMs;
}

/** Goes on comparing the clocks while the sidecar runs, and raises the alarm when they part. */
export class ClockWatch {
  readonly #options: ClockWatchOptions;
  #skewMs: DurationMs;
  #told = false;
  #measuring: Promise<void> | undefined;
  #cancel: (() => void) | undefined;
  #stopped = false;

  constructor(options: ClockWatchOptions) {
    this.#options = options;
    this.#skewMs = options.skewMs;
    this.#later();
  }

  /** As last measured. */
  get skewMs(): DurationMs {
    return this.#skewMs;
  }

  /** For the metrics. */
  get gauge() {
    return {
      name: 'clock_skew_seconds',
      help: 'By how much the clock of the database is ahead of ours.',
      kind: 'gauge',
      read: () => this.#skewMs / SECOND,
    } as const;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#measuring;
  }

  #later(): void {
    if (this.#stopped) return;
    const { clock, everyMs = MINUTE } = this.#options;
    this.#cancel = clock.schedule(everyMs, () => {
      this.#measuring = this.#measure().finally(() => this.#later());
    });
  }

  async #measure(): Promise<void> {
    const { clock, log, sql } = this.#options;
    try {
      this.#skewMs = await measureSkew(sql, clock);
    } catch {
      // The breaker tells of the outage.
      return;
    }
    const differ = Math.abs(this.#skewMs) > MOST_SKEW_MS;
    if (differ && !this.#told) log.error(clocksDiffer(this.#skewMs), { skew_ms: this.#skewMs });
    if (!differ && this.#told) log.warn('the clocks agree again', { skew_ms: this.#skewMs });
    this.#told = differ;
  }
}
