import type { EventDraft } from '../../domain/audit-event.ts';

export type SqlValue = string | number | bigint | Uint8Array | null;
export type Row = Readonly<Record<string, SqlValue>>;

/** One unit of work. Statements use `$1` numbering on both engines. */
export interface Tx {
  all(sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]> | readonly Row[];
  /** How many rows were changed. */
  run(sql: string, ...params: readonly SqlValue[]): Promise<number> | number;
  /**
   * Adds events to this unit: they are durable in the audit buffer no later than the unit's own effects, and gone if the
   * unit fails.
   */
  record(...events: readonly EventDraft[]): void;
}

/** Runs units one after the other as if alone; many may share one commit. */
export interface SqlExecutor {
  /** Resolves once everything is durable. A throw inside undoes the whole unit and nothing else. */
  unit<T>(work: (tx: Tx) => Promise<T> | T): Promise<T>;
}
