import type { SessionChange } from '#src/domain/session.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { News } from './contract.ts';
import type { ToldChanges } from './told-changes.ts';

/** Word that is merely late has come by then. */
const SOONEST: DurationMs = 250;
/** Sidecars spread over this time, so that the first of them spares the others the trouble. */
const SPREAD: DurationMs = 1_000;
/** More changes than this are not told again. */
const MAX_WAITING = 1_000;

export interface NewsRelayOptions {
  readonly news: News;
  readonly told: Pick<ToldChanges, 'heard'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/**
 * Tells of changes that came by the log alone. Whoever made one may reach PostgreSQL and not Redis; then a sidecar that
 * reaches Redis and not PostgreSQL, and goes on with what it knows, hears of it from one that reaches both.
 */
export class NewsRelay {
  readonly #options: NewsRelayOptions;
  #waiting: SessionChange[] = [];
  #cancel: (() => void) | undefined;

  constructor(options: NewsRelayOptions) {
    this.#options = options;
  }

  /** Entries of the log that no news came of yet. */
  note(entries: readonly SessionChange[]): void {
    const { clock, random } = this.#options;
    // What ends by the clock ends everywhere without a word.
    const notable = entries.filter(({ endReason }) => endReason !== 'EXPIRED' && endReason !== 'IDLE');
    this.#waiting.push(...notable.slice(0, MAX_WAITING - this.#waiting.length));
    if (this.#waiting.length === 0 || this.#cancel) return;
    const share = (random.bytes(1)[0] ?? 0) / 256;
    this.#cancel = clock.schedule(SOONEST + share * SPREAD, () => void this.#tell());
  }

  stop(): void {
    this.#cancel?.();
    this.#waiting = [];
  }

  async #tell(): Promise<void> {
    const { log, news, told } = this.#options;
    const unheard = this.#waiting.filter(({ sessionId, at }) => !told.heard(sessionId, at));
    this.#waiting = [];
    this.#cancel = undefined;
    if (unheard.length === 0 || !news.connected) return;
    const ends = unheard.flatMap(({ realm, sessionId, subject, endReason: reason, at: endedAt }) =>
      reason === undefined ? [] : [{ realm, sessionId, subject, reason, endedAt }],
    );
    const changes = unheard.filter(({ endReason }) => endReason === undefined);
    const results = await Promise.allSettled([
      ...(ends.length > 0 ? [news.sessionsEnded(ends)] : []),
      ...changes.map(({ realm, sessionId, at }) => news.sessionsChanged(realm, [sessionId], at)),
    ]);
    if (results.some(({ status }) => status === 'rejected')) log.debug('a change could not be told again', {});
  }
}
