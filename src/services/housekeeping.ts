import type { DurationMs, EpochMs } from '#src/domain/time.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';

/** Rows of one kind that are of no use any more. */
export interface Chore {
  /** For the log. */
  readonly what: string;
  /** How long they are kept once they are of no use. */
  readonly keepMs: DurationMs;
  /** Deletes at most `limit` of those from before `before`; answers how many. */
  purge(before: EpochMs, limit: number): Promise<number>;
}

export interface HousekeepingDependencies {
  readonly chores: readonly Chore[];
  /** Time between two rounds. */
  readonly everyMs: DurationMs;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const BATCH = 500;
/** Batches of one kind in a round, so that a backlog keeps nobody busy for long. */
const MOST_BATCHES = 20;

/**
 * Collects what is long over, kind by kind. Nothing depends on it but how much is kept: whatever has run out counts for
 * nothing by its own instants. The first round comes at a moment that differs from sidecar to sidecar.
 */
export class Housekeeping {
  readonly #deps: HousekeepingDependencies;
  #cancel: (() => void) | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(deps: HousekeepingDependencies) {
    this.#deps = deps;
  }

  start(): void {
    const { random, everyMs } = this.#deps;
    const [first = 0] = random.bytes(1);
    this.#later((everyMs * (first + 1)) / 256);
  }

  /** Resolves when the round under way, if any, has ended. */
  stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    return this.#running;
  }

  /** One round; answers how many rows went. What fails is tried again in the next one. */
  async round(): Promise<number> {
    const { chores, clock, log } = this.#deps;
    let gone = 0;
    for (const { what, keepMs, purge } of chores) {
      try {
        for (let batches = 0; batches < MOST_BATCHES && !this.#stopped; batches += 1) {
          const purged = await purge(clock.now() - keepMs, BATCH);
          gone += purged;
          if (purged < BATCH) break;
        }
      } catch (error) {
        log.warn('what is over could not be deleted; trying again later', { what, error: String(error) });
      }
    }
    return gone;
  }

  #later(delay: DurationMs): void {
    if (this.#stopped) return;
    this.#cancel = this.#deps.clock.schedule(delay, () => {
      this.#running = this.round().then(() => this.#later(this.#deps.everyMs));
    });
  }
}
