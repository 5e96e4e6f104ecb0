import { setFlagsFromString } from 'node:v8';

/**
 * For the time after the start. The young generation, held at its first size until now, may grow: calls in flight would
 * otherwise be copied again and again. Every call leaves some 5 kB that only a full collection finds (Node's HTTP/2
 * streams); V8 lets them add up to four times what the program is, here to twice, and gives freed pages back. V8 reads
 * these flags whenever it decides, so they work in a running program. docs/benchmarks.md has the figures.
 */
export function keepHeapSmall(): void {
  const flags = ['--semi-space-growth-factor=2', '--heap-growing-percent=100', '--no-memory-pool'];
  for (const flag of flags) setFlagsFromString(flag);
}
