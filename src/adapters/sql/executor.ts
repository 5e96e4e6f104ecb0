import type { EventDraft } from '../../domain/audit-event.ts';

export type SqlValue = string | number | bigint | Uint8Array | null;
export type Row = Readonly<Record<string, SqlValue>>;

/** One unit of work. Statements use `$1` numbering on both engines. */
export interface Tx {
  all(sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]> | readonly Row[];
  /** How many rows were changed. */
  run(sql: string, ...params: readonly SqlValue[]): Promise<number> | number;
  /**
   * From here to its end the unit runs as if alone with everything of this person: whoever else is at it, in any process,
   * comes before or after. To be called before anything is read that the unit decides by. A unit is alone with one person
   * at most, since two could wait for one another.
   */
  alone(realm: string, subject: string): Promise<void> | void;
  /**
   * Adds events to this unit: they are durable in the audit buffer no later than the unit's own effects, and gone if the
   * unit fails.
   */
  record(...events: readonly EventDraft[]): void;
  /** Told of every row of `factors` that the unit deletes. Absent where nobody has to know. */
  readonly factorGone?: (row: Row) => void;
}

/**
 * Runs units of work. Where one process owns the database they run one after the other and share commits; where many
 * share it, a unit is alone only with the person it names.
 */
export interface SqlExecutor {
  /**
   * Resolves once everything is durable. A throw inside undoes the whole unit and nothing else. A unit that throws
   * UnitConflict is undone and runs again, so it must have no effect outside its statements.
   */
  unit<T>(work: (tx: Tx) => Promise<T> | T): Promise<T>;
  /** One statement that changes nothing: it needs no transaction of its own. */
  read(sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]>;
}

/** Single reads in the form of those within a unit. */
export function readerOf(sql: SqlExecutor): Pick<Tx, 'all'> {
  return { all: (text, ...params) => sql.read(text, ...params) };
}

/** Something that the unit had read was changed by another before its own statement came. */
export class UnitConflict extends Error {
  override readonly name = 'UnitConflict';
}
