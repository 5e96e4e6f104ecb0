import { DAY, type DurationMs, HOUR, MINUTE, SECOND } from '../domain/time.ts';

const DURATIONS: readonly (readonly [string, DurationMs])[] = [
  ['d', DAY],
  ['h', HOUR],
  ['m', MINUTE],
  ['s', SECOND],
  ['ms', 1],
];
const SIZES: readonly (readonly [string, number])[] = [
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
  ['B', 1],
];

export const DURATION_PATTERN = /^(?:\d{1,9}(?:d|h|ms|m|s)){1,5}$/;
export const SIZE_PATTERN = /^\d{1,9}(?:GiB|MiB|KiB|B)$/;

/** `90s`, `1h30m`, `24h`: whole numbers with units d, h, m, s, ms. undefined for anything else. */
export function parseDuration(text: string): DurationMs | undefined {
  if (!DURATION_PATTERN.test(text)) return undefined;
  let sum = 0;
  for (const [, digits, unit] of text.matchAll(/(\d+)(ms|d|h|m|s)/g))
    sum += Number(digits) * (DURATIONS.find(([name]) => name === unit)?.[1] ?? Number.NaN);
  return Number.isSafeInteger(sum) ? sum : undefined;
}

/** `64KiB`, `1GiB`: a whole number with unit B, KiB, MiB or GiB, in bytes. undefined for anything else. */
export function parseSize(text: string): number | undefined {
  if (!SIZE_PATTERN.test(text)) return undefined;
  const size = SIZES.find(([unit]) => text.endsWith(unit));
  const bytes = Number.parseInt(text, 10) * (size?.[1] ?? Number.NaN);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
