/**
 * Statements over many rows at once, in few texts: as many full batches as there are, then single rows. So the number of
 * texts stays bounded, for whoever prepares them once.
 */
export const BATCH_ROWS = 32;

export function* inBatches<T>(rows: readonly T[]): Generator<readonly T[]> {
  const full = rows.length - (rows.length % BATCH_ROWS);
  for (let start = 0; start < full; start += BATCH_ROWS) yield rows.slice(start, start + BATCH_ROWS);
  for (const row of rows.slice(full)) yield [row];
}

/** How many values to add so that there are as many as a power of two: lists in few lengths make few texts. */
export function roomAbove(count: number): number {
  return 2 ** Math.ceil(Math.log2(count)) - count;
}

/** `($1, $2), ($3, $4)` for two rows of two columns. */
export function valuesOf(rows: number, columns: number): string {
  return Array.from({ length: rows }, (_, row) => `(${paramsOf(columns, row * columns + 1)})`).join(', ');
}

/** `$3, $4` for two from 3. */
export function paramsOf(count: number, from: number): string {
  return Array.from({ length: count }, (_, index) => `$${from + index}`).join(', ');
}
