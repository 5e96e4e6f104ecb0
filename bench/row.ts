/**
 * One line of the result. `baseline` is the bare equivalent in the same unit, null where there is none; `ratio` is the median
 * of value / baseline over the rounds; `goal` is in words.
 */
export interface Row {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly baseline: number | null;
  readonly ratio: number | null;
  readonly goal: string;
  readonly met: boolean;
}

const digits = (value: number) =>
  Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 1 ? value.toFixed(2) : value.toFixed(3);

/** The rows as a table for people. */
export function table(rows: readonly Row[]): string {
  const head = ['figure', 'value', 'unit', 'baseline', 'ratio', 'goal', 'met'];
  const body = rows.map((row) => [
    row.name,
    digits(row.value),
    row.unit,
    row.baseline === null ? '' : digits(row.baseline),
    row.ratio === null ? '' : digits(row.ratio),
    row.goal,
    row.met ? 'yes' : 'NO',
  ]);
  const widths = head.map((title, column) =>
    Math.max(title.length, ...body.map((cells) => cells[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return [line(head), widths.map((width) => '-'.repeat(width)).join('  '), ...body.map(line)].join('\n');
}

/** The rows as what `--json` writes: an array of objects with the members of `Row`, all of them always there. */
export function asJson(rows: readonly Row[]): string {
  const exact = rows.map(({ name, value, unit, baseline, ratio, goal, met }) => ({
    name,
    value,
    unit,
    baseline,
    ratio,
    goal,
    met,
  }));
  return `${JSON.stringify(exact, undefined, 2)}\n`;
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}
