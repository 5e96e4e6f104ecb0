import type { Client, ClientConfig } from 'pg';
import type { Row, SqlValue } from '#src/adapters/sql/executor.ts';
import { text, whole } from '#src/adapters/sql/row.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import { newClient } from './postgres-client.ts';
import { isDatabaseError, isOutage, PostgresError, PostgresUnreachable } from './postgres-errors.ts';
import { ROW_TYPES } from './row-types.ts';

export interface Reply {
  readonly rows: readonly Row[];
  /** How many rows were changed or read. */
  readonly count: number;
  /** `COMMIT`, `ROLLBACK`, `SELECT` …: what the server did. */
  readonly command: string;
}

export interface ConnectionOptions {
  readonly client: ClientConfig;
  readonly clock: Clock;
  readonly timeoutMs: DurationMs;
  /** After each answer of the server, be it an error. */
  readonly onReply: () => void;
}

const CLOSE_MS = 1_000;
/** What is asked while an answer is awaited is sent at once, and answered in order. */
const PIPELINED = { pipeline: true };
const TIMELINE = 'left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)';

/**
 * An expression for the run of the server: changes when it starts, also when it starts over by itself because one of its
 * processes died, which resets these counters. Costs a file access on old releases.
 */
export const SERVER_RUN =
  "extract(epoch FROM pg_postmaster_start_time()) || '/' || coalesce(extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()), 0)";

/**
 * One connection to the writer. Statements are sent at once and answered in order; unnamed ones only, since a pooler may give each
 * transaction another server. Errors are those of postgres-errors.
 */
export class PostgresConnection {
  readonly #client: Client;
  readonly #options: ConnectionOptions;
  #gone: Error | undefined;
  #onGone: (() => void) | undefined;
  #unanswered = 0;
  /** When the server was last heard, or first asked, while something is unanswered. */
  #silentSince: number | undefined;
  #namesTimeline = false;
  #serverRun = '';

  private constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#client = newClient({ ...options.client, ...PIPELINED, types: ROW_TYPES });
    // Comes before the statement under way is rejected.
    this.#client.on('error', (error) => this.destroy(new PostgresUnreachable(error.message)));
    this.#client.on('end', () => this.destroy(new PostgresUnreachable('the server closed the connection')));
  }

  /** Rejects with PostgresUnreachable, also for a server that does not take writes. */
  static async open(options: ConnectionOptions): Promise<PostgresConnection> {
    const connection = new PostgresConnection(options);
    const late = options.clock.schedule(options.timeoutMs, () =>
      connection.destroy(new PostgresUnreachable('connecting took too long')),
    );
    try {
      await connection.#client.connect();
      await connection.#meet();
      return connection;
    } catch (error) {
      const cause = connection.#gone ?? error;
      connection.destroy(new PostgresUnreachable('it could not be opened'));
      throw cause instanceof PostgresUnreachable ? cause : new PostgresUnreachable(messageOf(cause), { cause });
    } finally {
      late();
    }
  }

  get usable(): boolean {
    return this.#gone === undefined;
  }

  /** Outside of transactions. */
  get idle(): boolean {
    return this.usable && this.#client.getTransactionStatus() === 'I';
  }

  /** Told once, when it is lost or destroyed. */
  set onGone(listener: () => void) {
    this.#onGone = listener;
  }

  /** For how long the statement under way has had no answer; 0 when none is under way. */
  get unansweredMs(): DurationMs {
    return this.#silentSince === undefined ? 0 : this.#options.clock.monotonic() - this.#silentSince;
  }

  /**
   * An expression for which history of the database the server is on: changes when another one takes over. NULL if the
   * server does not say. To be asked together with what it is for, since a pooler changes servers behind a connection.
   */
  get timeline(): string {
    return this.#namesTimeline ? TIMELINE : 'NULL';
  }

  /**
   * `SERVER_RUN` as it was when this connection was made. Behind a pooler the server may have been started since, so this
   * may be out of date, but is never ahead.
   */
  get serverRun(): string {
    return this.#serverRun;
  }

  async query(sql: string, params: readonly SqlValue[] = []): Promise<Reply> {
    const result = await this.#ask(() =>
      params.length === 0 ? this.#client.query<Row>(sql) : this.#client.query<Row>(sql, [...params]),
    );
    return { rows: result.rows, count: result.rowCount ?? 0, command: result.command };
  }

  /** Several statements without parameters, in one round trip. */
  async script(sql: string): Promise<void> {
    await this.#ask(() => this.#client.query(sql));
  }

  /** At once, without a word: whatever is under way rejects with `cause`. */
  destroy(cause: Error): void {
    if (this.#gone) return;
    this.#gone = cause;
    this.#client.connection.stream.destroy();
    this.#onGone?.();
  }

  /** Takes leave; a server that does not answer is not waited for. */
  async close(): Promise<void> {
    if (!this.usable) return;
    const late = this.#options.clock.schedule(CLOSE_MS, () => this.destroy(new PostgresUnreachable('it was closed')));
    await this.#client.end().catch(() => {});
    late();
    this.destroy(new PostgresUnreachable('it was closed'));
  }

  async #meet(): Promise<void> {
    const [row] = (
      await this.query(
        `SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean AS reader,
          ${SERVER_RUN} AS run`,
      )
    ).rows;
    if (!row || whole(row, 'reader') === 1) throw new PostgresUnreachable('the server takes no writes');
    this.#serverRun = text(row, 'run');
    try {
      await this.query(`SELECT ${TIMELINE}`);
      this.#namesTimeline = true;
    } catch (error) {
      // Some hosted servers do not let anybody see it.
      if (!(error instanceof PostgresError) || !this.usable) throw error;
    }
  }

  async #ask<T>(send: () => Promise<T>): Promise<T> {
    if (this.#gone) throw this.#gone;
    this.#unanswered += 1;
    this.#silentSince ??= this.#options.clock.monotonic();
    try {
      const result = await send();
      this.#options.onReply();
      return result;
    } catch (error) {
      throw this.#failure(error);
    } finally {
      this.#unanswered -= 1;
      this.#silentSince = this.#unanswered > 0 ? this.#options.clock.monotonic() : undefined;
    }
  }

  #failure(error: unknown): unknown {
    if (this.#gone) return this.#gone;
    if (!isDatabaseError(error)) return error;
    this.#options.onReply();
    const refused = new PostgresError(error);
    // The next try may reach another server.
    if (refused.fatal || isOutage(refused)) this.destroy(refused);
    return refused;
  }
}

function messageOf(error: unknown): string {
  if (error instanceof AggregateError) return messageOf(error.errors[0]);
  return error instanceof Error ? error.message : String(error);
}
