import type { ClientConfig } from 'pg';
import { Breaker } from '#src/adapters/shared/breaker.ts';
import { scheduleFairly } from '#src/adapters/shared/fair-timer.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { PostgresConnection } from './postgres-connection.ts';
import { isOutage, PostgresTimeout, PostgresUnreachable } from './postgres-errors.ts';
import { type Job, type Lane, WaitingJobs } from './waiting-jobs.ts';

export interface PostgresPoolOptions {
  /** As from `connectionSettings`. */
  readonly client: ClientConfig;
  /** Most connections. Units use all but one of them at a time, or the only one; reads use all. */
  readonly connections: number;
  /** Jobs that may wait for a connection; more are refused at once. */
  readonly maxWaiting: number;
  /** For a new connection, and for a probe. */
  readonly connectTimeoutMs: DurationMs;
  /** Failures in a row after which PostgreSQL counts as away. */
  readonly failures: number;
  /** About how often it is tried while it is away. */
  readonly probeMs: DurationMs;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface JobTerms {
  readonly lane: Lane;
  /** From now to the end, waiting for a connection included. */
  readonly timeoutMs: DurationMs;
  /** A server that answers nothing to one statement for this long is away, and not merely busy. */
  readonly patienceMs: DurationMs;
}

type Work<T> = (connection: PostgresConnection) => Promise<T>;

/** After a connection was refused while others work. */
const REOPEN_PAUSE_MS = 250;

/**
 * The few connections of a sidecar, opened when they are needed. Jobs wait in a bounded queue; each has its end, and a
 * connection that does not answer until then is destroyed. Around everything is the breaker.
 */
export class PostgresPool {
  readonly breaker: Breaker;
  readonly #options: PostgresPoolOptions;
  readonly #waiting: WaitingJobs;
  readonly #open = new Set<PostgresConnection>();
  readonly #idle: PostgresConnection[] = [];
  /** For how long the one who has it lets the server say nothing: a unit may wait for a lock. */
  readonly #patience = new Map<PostgresConnection, DurationMs>();
  /** Jobs whose work has not settled yet. */
  readonly #working = new Set<Promise<unknown>>();
  #opening = 0;
  #units = 0;
  #repliedAt: number;
  #cancelReopen: (() => void) | undefined;
  #closed = false;

  constructor(options: PostgresPoolOptions) {
    const { clock, random, log, failures, probeMs, connections, maxWaiting } = options;
    this.#options = options;
    this.#repliedAt = clock.monotonic();
    this.#waiting = new WaitingJobs({ maxWaiting, maxUnits: Math.max(1, connections - 1) });
    const probe = () => this.#probe();
    this.breaker = new Breaker({ name: 'postgres', failures, probeMs, probe, isOutage, clock, random, log });
    this.breaker.onChange(({ up }) => {
      if (up) return;
      this.#waiting.failAll(this.breaker.refusal());
      for (const connection of this.#idle.splice(0)) connection.destroy(new PostgresUnreachable('PostgreSQL is away'));
    });
  }

  /** Whether jobs wait for a connection. */
  get isBusy(): boolean {
    return this.#waiting.size > 0;
  }

  /**
   * Runs `work` on a connection of its own. Rejects with what `work` rejects with, with errors of postgres-errors, or at
   * once with Fault(unavailable) while PostgreSQL is away. When the time is up the caller is told at once; `work` goes on
   * to its end on a connection that is gone.
   */
  run<T>(terms: JobTerms, work: Work<T>): Promise<T> {
    return this.breaker.run(() => this.attempt(terms, work));
  }

  /** As `run`, also while PostgreSQL is away: to find something out. */
  attempt<T>(terms: JobTerms, work: Work<T>): Promise<T> {
    if (this.#closed) return Promise.reject(this.breaker.refusal(new PostgresUnreachable('the pool is closed')));
    return new Promise<T>((resolve, reject) => {
      const { clock } = this.#options;
      const since = clock.monotonic();
      const job: Job = {
        lane: terms.lane,
        since,
        start: (connection) => {
          cancel();
          const turn = this.#beginTurn(terms, connection);
          cancel = scheduleFairly(clock, Math.max(0, since + terms.timeoutMs - clock.monotonic()), () => {
            reject(turn.timedOut());
            turn.giveUp();
          });
          const working = work(connection)
            .then(resolve, reject)
            .finally(() => {
              cancel();
              this.#working.delete(working);
              turn.end();
            });
          this.#working.add(working);
        },
        fail: (error) => {
          cancel();
          reject(error);
        },
      };
      let cancel = scheduleFairly(clock, terms.timeoutMs, () => {
        this.#waiting.drop(job);
        reject(new PostgresTimeout('no connection became free in time', this.#isSilent(since, terms.patienceMs)));
      });
      if (this.#waiting.add(job)) this.#pump();
      else job.fail(new PostgresTimeout('too many wait for a connection', false));
    });
  }

  /** Refuses what waits, lets what runs finish, and closes all connections. */
  async close(): Promise<void> {
    this.#closed = true;
    this.breaker[Symbol.dispose]();
    this.#cancelReopen?.();
    this.#waiting.failAll(this.breaker.refusal(new PostgresUnreachable('the pool is closed')));
    await Promise.all(this.#working);
    await Promise.all([...this.#open].map((connection) => connection.close()));
  }

  #pump(): void {
    for (;;) {
      const job = this.#waiting.peek(this.#units);
      if (!job) return;
      const connection = this.#idle.pop();
      if (!connection) break;
      this.#waiting.take(job);
      job.start(connection);
    }
    const room = this.#options.connections - this.#open.size - this.#opening;
    if (room > 0 && this.#opening < this.#waiting.size && !this.#cancelReopen && !this.#closed) void this.#openOne();
  }

  async #openOne(): Promise<void> {
    const { client, clock, connectTimeoutMs } = this.#options;
    this.#opening += 1;
    try {
      const connection = await PostgresConnection.open({
        client,
        clock,
        timeoutMs: connectTimeoutMs,
        onReply: () => {
          this.#repliedAt = clock.monotonic();
        },
      });
      this.#opening -= 1;
      this.#open.add(connection);
      connection.onGone = () => this.#forget(connection);
      if (this.#closed) return await connection.close();
      this.#idle.push(connection);
      this.#pump();
    } catch (error) {
      this.#opening -= 1;
      this.#failedToOpen(error);
    }
  }

  #failedToOpen(error: unknown): void {
    const { clock, log } = this.#options;
    if (this.#open.size > 0) {
      // Others go on; the server may have no room for one more.
      log.warn('another connection to postgres was refused', { error: String(error) });
      this.#cancelReopen = clock.schedule(REOPEN_PAUSE_MS, () => {
        this.#cancelReopen = undefined;
        this.#pump();
      });
      return;
    }
    if (this.#waiting.size > 0) this.#waiting.failAll(error);
    // Whoever waited has gone already, but it has to be noticed.
    else void this.breaker.run(() => Promise.reject(error)).catch(() => {});
  }

  /** One job's time with a connection, which ends once. */
  #beginTurn(terms: JobTerms, connection: PostgresConnection) {
    const { clock } = this.#options;
    const { lane, patienceMs } = terms;
    let over = false;
    if (lane === 'unit') this.#units += 1;
    this.#patience.set(connection, patienceMs);
    const turn = {
      timedOut: () =>
        new PostgresTimeout(`a ${lane} took too long`, connection.usable && connection.unansweredMs >= patienceMs),
      end: () => {
        if (over) return;
        over = true;
        if (lane === 'unit') this.#units -= 1;
        this.#patience.delete(connection);
        this.#putBack(connection);
      },
      /** A unit must not commit any more. A read may still be answered, and saves its connection then. */
      giveUp: () => {
        if (over) return;
        const waited = connection.unansweredMs;
        if (lane === 'read' && waited > 0 && waited < patienceMs) {
          scheduleFairly(clock, patienceMs - waited, turn.giveUp);
          return;
        }
        connection.destroy(turn.timedOut());
        turn.end();
      },
    };
    return turn;
  }

  /** Whether a job that waited since then did so for the server, and not for other jobs of this sidecar. */
  #isSilent(since: number, patienceMs: DurationMs): boolean {
    if (this.#open.size === 0) return this.#repliedAt < since;
    const patienceWith = (connection: PostgresConnection) => Math.max(patienceMs, this.#patience.get(connection) ?? 0);
    return [...this.#open].every((connection) => connection.unansweredMs >= patienceWith(connection));
  }

  #putBack(connection: PostgresConnection): void {
    if (connection.idle && !this.#closed) this.#idle.push(connection);
    else if (connection.usable && !this.#closed) {
      connection.destroy(new PostgresUnreachable('a transaction was left open'));
    }
    this.#pump();
  }

  #forget(connection: PostgresConnection): void {
    this.#open.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at !== -1) this.#idle.splice(at, 1);
    this.#pump();
  }

  async #probe(): Promise<void> {
    const timeoutMs = this.#options.connectTimeoutMs;
    const terms: JobTerms = { lane: 'read', timeoutMs, patienceMs: timeoutMs };
    await this.attempt(terms, async (connection) => {
      await connection.query('SELECT 1');
    });
  }
}
