import { DatabaseError } from 'pg';
import { UnitConflict } from '#src/adapters/sql/executor.ts';
import { Fault } from '#src/domain/faults.ts';

/** What the server refused. Its words are kept only where they cannot carry stored values. */
export class PostgresError extends Error {
  override readonly name = 'PostgresError';
  /** SQLSTATE. */
  readonly code: string;
  /** The server has ended the connection. */
  readonly fatal: boolean;

  constructor(error: DatabaseError) {
    const code = error.code ?? '';
    super(`${code} ${isSafeToTell(code) ? error.message : `at ${error.table ?? '?'}.${error.constraint ?? '?'}`}`);
    this.code = code;
    this.fatal = error.severity === 'FATAL' || error.severity === 'PANIC';
  }
}

/** There is no connection, or it broke. */
export class PostgresUnreachable extends Error {
  override readonly name = 'PostgresUnreachable';
}

/** Something took longer than it may. */
export class PostgresTimeout extends Error {
  override readonly name = 'PostgresTimeout';
  /** Whether the server seems to be away, rather than busy with others. */
  readonly away: boolean;

  constructor(message: string, away: boolean) {
    super(message);
    this.away = away;
  }
}

/** A unit failed when its events had been taken already, or its COMMIT was under way: it must not run again by itself. */
export class UnitLost extends Error {
  override readonly name = 'UnitLost';

  constructor(message: string, cause: unknown) {
    super(message, { cause });
  }
}

/** Whether an error says that PostgreSQL is away, or not the one to write to, rather than that it refused something. */
export function isOutage(error: unknown): boolean {
  if (error instanceof UnitLost) return isOutage(error.cause);
  if (error instanceof PostgresUnreachable) return true;
  if (error instanceof PostgresTimeout) return error.away;
  return error instanceof PostgresError && OUTAGES.test(error.code);
}

/**
 * Connection exceptions; a read-only server; no resources, too many connections; a statement that ran into its time-out;
 * shutdown, crash, start-up; errors of the system below.
 */
const OUTAGES = /^(?:08...|25006|53...|57014|57P0.|58...)$/;

/**
 * Whether another unit came in between, so that a second run sees what it did: a conflict that the stores found, a
 * serialization failure, a deadlock, a lock that was not to be had, a unique key that appeared.
 */
export function isCollision(error: unknown): boolean {
  if (error instanceof UnitConflict) return true;
  return error instanceof PostgresError && /^(?:40001|40P01|55P03|23505)$/.test(error.code);
}

/** Errors of the driver and of this room as faults; faults and errors of others pass. `away` is for outages. */
export function postgresFault(error: unknown, away: (cause: unknown) => Fault): unknown {
  if (error instanceof Fault) return error;
  if (isOutage(error)) return away(error);
  if (isCollision(error) || error instanceof PostgresTimeout || error instanceof UnitLost) {
    return new Fault('unavailable', 'STORE_UNAVAILABLE', 'the store is busy with other calls; try again in a moment', {
      retryAfterMs: 250,
      metadata: { dependency: 'postgres' },
      cause: error,
    });
  }
  if (!(error instanceof PostgresError)) return error;
  return new Fault('internal', 'INTERNAL', 'the database refused a statement', { cause: error });
}

/** Messages about data (classes 22, 23) and statements (42) may quote values. */
function isSafeToTell(code: string): boolean {
  return !/^(?:22|23|42)/.test(code) || code === '42501';
}

export function isDatabaseError(error: unknown): error is DatabaseError {
  return error instanceof DatabaseError;
}
