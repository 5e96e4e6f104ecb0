import type { EventsTaken } from '#src/adapters/audit/contract.ts';
import { optionalText, text } from '#src/adapters/sql/row.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { SERVER_RUN } from './postgres-connection.ts';
import type { PostgresPool } from './postgres-pool.ts';

/** A COMMIT that was sent and not answered. */
export interface OpenCommit {
  /** As from pg_current_xact_id(). */
  readonly transaction: string;
  /** Of the server it was sent to; see PostgresConnection. */
  readonly timeline: string | undefined;
  /** The same, by `SERVER_RUN`. */
  readonly serverRun: string;
}

/** `open`: still under way, as far as anybody can tell. `unknown`: nobody will ever know. */
export type CommitOutcome = 'committed' | 'aborted' | 'open' | 'unknown';

export interface UnitOutcomesOptions {
  readonly pool: Pick<PostgresPool, 'attempt' | 'breaker'>;
  readonly clock: Clock;
  readonly log: Log;
  /** How many commits may be asked about in the background; for more nobody asks. */
  readonly maxOpen: number;
  /** How long to go on asking. */
  readonly keepMs: DurationMs;
}

interface Followed {
  readonly commit: OpenCommit;
  readonly taken: EventsTaken;
  readonly until: number;
}

const UNKNOWN = 'nobody knows whether a unit took effect; its events are named in the audit trail';
const ASK_AGAIN_MS = 25;
const ASK_TIMEOUT_MS = 500;
const FOLLOW_MS = 1_000;
/** A trail that cannot be written takes no word, however long it is waited for. */
const CLOSE_MS = 1_000;

/**
 * How commits ended whose reply was lost. The server knows for every transaction id; it is asked on other connections,
 * first while the caller waits, then in the background, so that the events of the unit are confirmed or revoked.
 */
export class UnitOutcomes {
  readonly #options: UnitOutcomesOptions;
  readonly #followed = new Set<Followed>();
  readonly #revoking = new Set<Promise<void>>();
  #cancel: (() => void) | undefined;
  #closed = false;

  constructor(options: UnitOutcomesOptions) {
    this.#options = options;
  }

  /** How many are asked about in the background. */
  get open(): number {
    return this.#followed.size;
  }

  /** Asks until it is known or the time, on the monotonic clock, is up. Never rejects. */
  async resolve(commit: OpenCommit, deadline: number): Promise<CommitOutcome> {
    const { clock } = this.#options;
    for (;;) {
      const left = deadline - clock.monotonic();
      if (left <= 0) return 'open';
      const outcome = await this.#ask(commit, Math.min(left, ASK_TIMEOUT_MS));
      if (outcome !== 'open') return outcome;
      await new Promise<void>((resolve) => clock.schedule(ASK_AGAIN_MS, resolve));
    }
  }

  /** Goes on asking without anybody waiting. */
  follow(commit: OpenCommit, taken: EventsTaken): void {
    const { clock, keepMs, log, maxOpen } = this.#options;
    if (this.#closed || this.#followed.size >= maxOpen) {
      log.error(UNKNOWN, {});
      this.revoke(taken);
      return;
    }
    this.#followed.add({ commit, taken, until: clock.monotonic() + keepMs });
    this.#arm();
  }

  /**
   * Nobody will know any more: what is still open is named in the trail, or by its next start if it cannot be written now.
   */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel?.();
    for (const { taken } of this.#followed) this.revoke(taken);
    this.#followed.clear();
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancel = this.#options.clock.schedule(CLOSE_MS, resolve);
    await Promise.race([Promise.all(this.#revoking), late]);
    cancel();
  }

  /** The unit did not take effect, or nobody knows. */
  revoke(taken: EventsTaken): void {
    const revoking = taken.revoke().finally(() => this.#revoking.delete(revoking));
    this.#revoking.add(revoking);
  }

  #arm(): void {
    if (this.#closed || this.#cancel || this.#followed.size === 0) return;
    this.#cancel = this.#options.clock.schedule(FOLLOW_MS, () => void this.#round());
  }

  async #round(): Promise<void> {
    const { clock, log, pool } = this.#options;
    for (const followed of [...this.#followed]) {
      const outcome = pool.breaker.up ? await this.#ask(followed.commit, ASK_TIMEOUT_MS) : 'open';
      const givenUp = outcome === 'open' && clock.monotonic() >= followed.until;
      if (outcome === 'open' && !givenUp) continue;
      if (!this.#followed.delete(followed)) continue;
      if (outcome === 'committed') {
        followed.taken.confirm();
        continue;
      }
      if (givenUp || outcome === 'unknown') log.error(UNKNOWN, {});
      this.revoke(followed.taken);
    }
    this.#cancel = undefined;
    this.#arm();
  }

  async #ask({ transaction, timeline, serverRun }: OpenCommit, timeoutMs: DurationMs): Promise<CommitOutcome> {
    try {
      return await this.#options.pool.attempt(
        { lane: 'read', timeoutMs, patienceMs: timeoutMs },
        async (connection) => {
          const { rows } = await connection.query(
            `SELECT pg_xact_status($1::xid8) AS status, ${connection.timeline} AS timeline, ${SERVER_RUN} AS run`,
            [transaction],
          );
          const [row] = rows;
          // Another server has taken over, where the number may be that of another transaction.
          if (!row || optionalText(row, 'timeline') !== timeline) return 'open';
          const status = optionalText(row, 'status');
          // A server that crashed gives out again the numbers of transactions that it lost: this may be another one. That
          // it was undone is certain all the same, since one that is durable keeps its number.
          if (status === 'committed' && text(row, 'run') !== serverRun) return 'unknown';
          return status === 'committed' || status === 'aborted' ? status : 'open';
        },
      );
    } catch {
      return 'open';
    }
  }
}
