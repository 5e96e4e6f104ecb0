import type { Row, SqlValue } from './executor.ts';

/** Typed reading of columns. A column of another type means that the table and this code disagree, so it throws. */

export function text(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== 'string') throw mismatch(column, 'text');
  return value;
}

export function optionalText(row: Row, column: string): string | undefined {
  return row[column] === null ? undefined : text(row, column);
}

/** Whole numbers; a driver may hand out 64-bit columns as bigint. */
export function whole(row: Row, column: string): number {
  const value = Number(row[column] ?? Number.NaN);
  if (!Number.isSafeInteger(value)) throw mismatch(column, 'a whole number');
  return value;
}

export function optionalWhole(row: Row, column: string): number | undefined {
  return row[column] === null ? undefined : whole(row, column);
}

export function bytes(row: Row, column: string): Uint8Array {
  const value = row[column];
  if (!(value instanceof Uint8Array)) throw mismatch(column, 'bytes');
  // A plain array of its own: drivers hand out Buffers, which compare and clone differently.
  return new Uint8Array(value);
}

export function json(row: Row, column: string): unknown {
  return JSON.parse(text(row, column));
}

export function optionalJson(row: Row, column: string): unknown {
  return row[column] === null ? undefined : json(row, column);
}

export function optionalBytes(row: Row, column: string): Uint8Array | undefined {
  return row[column] === null ? undefined : bytes(row, column);
}

/** Leaves out members that are undefined, for records whose optional members are absent rather than undefined. */
export function present<T extends Readonly<Record<string, unknown>>>(
  members: T,
): { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
} {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as ReturnType<
    typeof present<T>
  >;
}

/** NULL for what is absent. */
export function orNull(value: SqlValue | undefined): SqlValue {
  return value ?? null;
}

function mismatch(column: string, expected: string): TypeError {
  return new TypeError(`column ${column} does not hold ${expected}`);
}
