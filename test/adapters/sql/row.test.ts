import { expect, it } from 'vitest';
import { bytes, optionalText, optionalWhole, present, text, whole } from '#src/adapters/sql/row.ts';

const row = { name: 'a', size: 7, big: 8n, huge: 2n ** 60n, blob: Buffer.from('abc'), nothing: null };

it('reads columns by their type', () => {
  expect(text(row, 'name')).toBe('a');
  expect([whole(row, 'size'), whole(row, 'big')]).toEqual([7, 8]);
  expect(bytes(row, 'blob')).toEqual(Uint8Array.from([97, 98, 99]));
  expect([optionalText(row, 'nothing'), optionalWhole(row, 'nothing')]).toEqual([undefined, undefined]);
});

it('refuses a column of another type, one that is missing, and a number that would lose digits', () => {
  for (const read of [
    () => text(row, 'size'),
    () => text(row, 'absent'),
    () => whole(row, 'name'),
    () => whole(row, 'nothing'),
    () => whole(row, 'huge'),
    () => bytes(row, 'name'),
  ])
    expect(read).toThrow(TypeError);
});

it('leaves out what is undefined', () => {
  expect(Object.keys(present({ a: 1, b: undefined }))).toEqual(['a']);
});
