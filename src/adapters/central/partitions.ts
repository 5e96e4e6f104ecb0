import type { Row } from '#src/adapters/sql/executor.ts';
import { text, whole } from '#src/adapters/sql/row.ts';
import { Fault } from '#src/domain/faults.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { Statement } from './database.ts';

/** The tables of the trail that have one partition for each month (UTC), and one for all other times. */
export const PARTED = ['audit_events', 'audit_checkpoints'] as const;
export type Parted = (typeof PARTED)[number];

export interface Partition {
  readonly name: string;
  readonly of: Parted;
  /** Absent for the partition of all other times. */
  readonly from?: EpochMs;
  /** Exclusive. */
  readonly until?: EpochMs;
  /** As the database last counted. */
  readonly rows: number;
  readonly bytes: number;
}

const PARTITIONS = `SELECT part.oid::regclass::text AS name, parent.relname AS parent,
    pg_get_expr(part.relpartbound, part.oid) AS bound, greatest(part.reltuples, 0)::bigint AS rows,
    pg_total_relation_size(part.oid) AS bytes
  FROM pg_inherits
    JOIN pg_class part ON part.oid = inhrelid
    JOIN pg_class parent ON parent.oid = inhparent
  WHERE inhparent IN (to_regclass('audit_events'), to_regclass('audit_checkpoints'))`;

/** In order of table and time, the partition of all other times last. Throws Fault(precondition) where there is no trail. */
export async function listPartitions(run: Statement): Promise<readonly Partition[]> {
  const rows = await run(PARTITIONS);
  if (rows.length === 0)
    throw new Fault('precondition', 'STORE_UNAVAILABLE', 'this database has no audit trail: run sallyport migrate');
  const order = ({ of, from = Number.MAX_SAFE_INTEGER }: Partition) => [PARTED.indexOf(of), from] as const;
  return rows.map(partitionOf).toSorted((left, right) => {
    const [a, b] = [order(left), order(right)];
    return a[0] - b[0] || a[1] - b[1];
  });
}

/** Makes the partitions of this month and so many next ones where they are missing; answers how many were made. */
export async function preparePartitions(run: Statement, ahead: number): Promise<number> {
  const [row] = await run('SELECT audit_prepare($1) AS made', ahead);
  return row ? whole(row, 'made') : 0;
}

function partitionOf(row: Row): Partition {
  const parent = text(row, 'parent');
  const of = PARTED.find((name) => name === parent);
  if (!of) throw new Error(`a partition of ${parent} is none of the trail`);
  const [, from, until] = /FROM \('?(-?\d+)'?\) TO \('?(-?\d+)'?\)/.exec(text(row, 'bound')) ?? [];
  return {
    name: text(row, 'name'),
    of,
    ...(from !== undefined && until !== undefined && { from: Number(from), until: Number(until) }),
    rows: whole(row, 'rows'),
    bytes: whole(row, 'bytes'),
  };
}
