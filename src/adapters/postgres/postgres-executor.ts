import type { EventCommit, EventsTaken } from '#src/adapters/audit/contract.ts';
import type { Row, SqlExecutor, SqlValue, Tx } from '#src/adapters/sql/executor.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { OpenUnit, type UnitTimes } from './open-unit.ts';
import type { PostgresConnection } from './postgres-connection.ts';
import { isCollision, PostgresError, PostgresUnreachable, postgresFault, UnitLost } from './postgres-errors.ts';
import type { PostgresPool } from './postgres-pool.ts';
import { type CommitOutcome, type OpenCommit, UnitOutcomes } from './unit-outcome.ts';

export interface PostgresExecutorOptions {
  readonly pool: PostgresPool;
  /** The trail: what a unit records is durable there before the unit commits. */
  readonly events: EventCommit;
  /** Longest unit, waiting and running again included. */
  readonly timeoutMs: DurationMs;
  /**
   * Longest wait for a lock at a stretch, since who waits keeps a connection from others; 250 ms if absent. It is tried again
   * while there is time.
   */
  readonly lockWaitMs?: DurationMs;
  /** Longest single read. */
  readonly readTimeoutMs: DurationMs;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

type Work<T> = (tx: Tx) => Promise<T> | T;

/** A unit that collides more often than this within its time has met something that does not pass. */
const MOST_RUNS = 12;
/** Longer than any wait for a lock; a server that says nothing for so long is away. */
const PATIENCE_MS = 500;
const MAX_OPEN_COMMITS = 1_000;
const KEEP_ASKING_MS = 600_000;

/**
 * Units of work on PostgreSQL, READ COMMITTED, in any number of processes at once. Rejects with Fault(unavailable) when
 * the time is up, PostgreSQL is away, or others were always first.
 */
export class PostgresExecutor implements SqlExecutor {
  readonly #options: PostgresExecutorOptions;
  readonly #outcomes: UnitOutcomes;
  readonly #times: UnitTimes;

  constructor(options: PostgresExecutorOptions) {
    const { pool, clock, log, timeoutMs, lockWaitMs = 250 } = options;
    this.#options = options;
    this.#outcomes = new UnitOutcomes({ pool, clock, log, maxOpen: MAX_OPEN_COMMITS, keepMs: KEEP_ASKING_MS });
    this.#times = {
      statementMs: Math.ceil(timeoutMs),
      lockMs: Math.ceil(Math.min(timeoutMs / 2, lockWaitMs)),
      idleMs: Math.ceil(timeoutMs * 2),
    };
  }

  /** Commits whose reply was lost and of which nobody knows yet. */
  get openCommits(): number {
    return this.#outcomes.open;
  }

  async unit<T>(work: Work<T>): Promise<T> {
    const { pool, clock, timeoutMs } = this.#options;
    const deadline = clock.monotonic() + timeoutMs;
    for (let runs = 1; ; runs += 1) {
      const left = deadline - clock.monotonic();
      const terms = { lane: 'unit', timeoutMs: left, patienceMs: Math.min(timeoutMs, PATIENCE_MS) } as const;
      try {
        return await pool.run(terms, (connection) => this.#attempt(connection, work, deadline));
      } catch (error) {
        const pauseMs = this.#pauseBefore(error, runs);
        if (pauseMs === undefined || clock.monotonic() + pauseMs >= deadline) throw this.#fault(error);
        await new Promise<void>((resolve) => clock.schedule(pauseMs, resolve));
      }
    }
  }

  read(sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]> {
    return this.readWithin(this.#options.readTimeoutMs, sql, ...params);
  }

  /** As `read`, for who waits no longer than this. */
  async readWithin(timeoutMs: DurationMs, sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]> {
    const { pool, clock } = this.#options;
    const deadline = clock.monotonic() + timeoutMs;
    const patienceMs = Math.min(timeoutMs / 2, PATIENCE_MS);
    for (let runs = 1; ; runs += 1) {
      const terms = { lane: 'read', timeoutMs: deadline - clock.monotonic(), patienceMs } as const;
      try {
        return await pool.run(terms, async (connection) => (await connection.query(sql, params)).rows);
      } catch (error) {
        // A connection that died while it was idle.
        if (!(error instanceof PostgresUnreachable) || runs > 1) throw this.#fault(error);
      }
    }
  }

  /** Of commits that nobody knows the end of, the events are named in the trail. To be called once no unit runs any more. */
  async close(): Promise<void> {
    await this.#outcomes.close();
  }

  async #attempt<T>(connection: PostgresConnection, work: Work<T>, deadline: number): Promise<T> {
    const unit = new OpenUnit(connection, this.#times);
    let value: T;
    try {
      value = await work(unit);
      await unit.hasBegun();
    } catch (error) {
      await unit.rollback();
      throw error;
    }
    if (unit.events.length > 0) await this.#commitWithEvents(unit, deadline);
    else if (unit.begun) await this.#commitAlone(unit);
    return value;
  }

  /** Without events a caller who hears of no success tries again, and nothing claims what may not have happened. */
  async #commitAlone(unit: OpenUnit): Promise<void> {
    let committed: boolean;
    try {
      committed = await unit.commit();
    } catch (error) {
      throw new UnitLost('the reply to COMMIT was lost', error);
    }
    if (!committed) throw new UnitLost('the transaction was undone', undefined);
  }

  async #commitWithEvents(unit: OpenUnit, deadline: number): Promise<void> {
    const [took, knows] = await Promise.allSettled([
      this.#options.events.take(unit.events),
      unit.begun ? unit.commitName() : undefined,
    ]);
    if (took.status === 'rejected') {
      await unit.rollback();
      throw took.reason;
    }
    const taken = took.value;
    if (!unit.begun) return taken.confirm();
    if (knows.status === 'rejected' || knows.value === undefined) {
      this.#outcomes.revoke(taken);
      await unit.rollback();
      throw new UnitLost('the unit was lost before its COMMIT', knows.status === 'rejected' ? knows.reason : undefined);
    }
    await this.#commit(unit, taken, knows.value, deadline);
  }

  async #commit(unit: OpenUnit, taken: EventsTaken, commit: OpenCommit, deadline: number): Promise<void> {
    let outcome: CommitOutcome;
    let cause: unknown;
    try {
      outcome = (await unit.commit()) ? 'committed' : 'aborted';
    } catch (error) {
      cause = error;
      const refused = error instanceof PostgresError && isRefusal(error);
      outcome = refused ? 'aborted' : await this.#outcomes.resolve(commit, deadline);
    }
    if (outcome === 'committed') return taken.confirm();
    if (outcome === 'open') this.#outcomes.follow(commit, taken);
    else this.#outcomes.revoke(taken);
    throw new UnitLost(
      outcome === 'aborted' ? 'the unit was undone' : 'nobody knows yet whether the unit took effect',
      cause,
    );
  }

  /** How long to wait before the unit runs again; undefined if it must not. */
  #pauseBefore(error: unknown, runs: number): DurationMs | undefined {
    // Before COMMIT the loss of a connection undoes everything. The server may be back at once.
    if (error instanceof PostgresUnreachable) return runs === 1 ? 0 : undefined;
    if (!isCollision(error) || runs >= MOST_RUNS) return undefined;
    const spread = (this.#options.random.bytes(1)[0] ?? 0) / 255;
    return spread * Math.min(2 ** runs, 64);
  }

  #fault(error: unknown): unknown {
    return postgresFault(error, (cause) => this.#options.pool.breaker.refusal(cause));
  }
}

/** Plain errors undo the transaction. Those that end the connection may come after it was written. */
function isRefusal({ code, fatal }: PostgresError): boolean {
  return !fatal && !/^(?:08|40003)/.test(code);
}
