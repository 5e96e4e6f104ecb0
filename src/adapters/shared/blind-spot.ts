import type { DurationMs } from '#src/domain/time.ts';
import type { Dependencies } from '#src/ports/dependencies.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { News } from './contract.ts';

export interface BlindSpotOptions {
  readonly dependencies: Dependencies;
  readonly news: Pick<News, 'connected'>;
  /** How long other sidecars need, once PostgreSQL is back, to make durable what they have put in force. */
  readonly graceMs: DurationMs;
  readonly clock: Clock;
}

/**
 * Whether sessions may have been ended of which this sidecar could not hear: while PostgreSQL was away, and Redis too or
 * not without a break, another one may have put ends in force. They are in PostgreSQL a moment after that is back; until
 * then nobody can say whether a session is good.
 */
export class BlindSpot {
  readonly #options: BlindSpotOptions;
  #missed = false;
  #until = Number.NEGATIVE_INFINITY;

  constructor(options: BlindSpotOptions) {
    this.#options = options;
  }

  get isBlind(): boolean {
    return this.#isUp('postgres') && this.#options.clock.monotonic() < this.#until;
  }

  /** To be called with every change of a dependency or of the connection for news. */
  noteChange(): void {
    const { clock, graceMs, news } = this.#options;
    if (!this.#isUp('postgres')) {
      if (!this.#isUp('redis') || !news.connected) this.#missed = true;
      return;
    }
    if (this.#missed) this.#until = clock.monotonic() + graceMs;
    this.#missed = false;
  }

  #isUp(name: 'postgres' | 'redis'): boolean {
    return this.#options.dependencies.state(name)?.up !== false;
  }
}
