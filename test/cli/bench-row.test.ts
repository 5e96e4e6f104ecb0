import { describe, expect, test } from 'vitest';
import { asJson, median, percentile, type Row, table } from '../../bench/row.ts';

const MET: Row = {
  name: 'calls',
  value: 18_250.4,
  unit: 'calls/s',
  baseline: 20_000,
  ratio: 0.9125,
  goal: 'ratio ≥ 0.85',
  met: true,
};
const MISSED: Row = {
  name: 'latest of 10 timeouts',
  value: 1_200,
  unit: 'ms late',
  baseline: null,
  ratio: null,
  goal: '≤ 1000 ms',
  met: false,
};

describe('the rows of the benchmarks', () => {
  test('are a table with one line each, in which a missed goal stands out', () => {
    const [head, rule, first, second, ...more] = table([MET, MISSED]).split('\n');

    expect(head?.split(/ {2,}/)).toEqual(['figure', 'value', 'unit', 'baseline', 'ratio', 'goal', 'met']);
    expect(rule).toMatch(/^[- ]+$/);
    expect(first?.split(/ {2,}/)).toEqual(['calls', '18250', 'calls/s', '20000', '0.912', 'ratio ≥ 0.85', 'yes']);
    expect(second?.split(/ {2,}/)).toEqual(['latest of 10 timeouts', '1200', 'ms late', '≤ 1000 ms', 'NO']);
    expect(more).toEqual([]);
  });

  test('keep their columns in line', () => {
    const lines = table([MET, MISSED]).split('\n');
    const columns = new Set([lines[0]?.indexOf('unit'), lines[2]?.indexOf('calls/s'), lines[3]?.indexOf('ms late')]);

    expect(columns.size).toBe(1);
  });

  test('are JSON with exactly the documented members, null where there is no baseline', () => {
    expect(JSON.parse(asJson([MET, MISSED]))).toEqual([MET, MISSED]);
    expect(Object.keys(JSON.parse(asJson([MISSED]))[0])).toEqual([
      'name',
      'value',
      'unit',
      'baseline',
      'ratio',
      'goal',
      'met',
    ]);
  });
});

describe('percentiles', () => {
  test('come from the sorted values, whatever their order', () => {
    const values = Array.from({ length: 100 }, (_, index) => 100 - index);

    expect(percentile(values, 0.99)).toBe(100);
    expect(percentile(values, 1)).toBe(100);
    expect(percentile(values, 0)).toBe(1);
    expect(median([9, 1, 5])).toBe(5);
  });

  test('are not a number where there are no values', () => {
    expect(median([])).toBeNaN();
  });
});
