import { setTimeout as sleep } from 'node:timers/promises';
import { RunningTime } from './running-time.ts';

/** However little of it this process could run. */
const LONGEST_STAND_MS = 10_000;

/** Often enough for what is measured by it, and not so often that looking keeps others from their work. */
const STEP_MS = 5;

/** Looks again until it holds; answers after how many milliseconds it did. Time in which this process stood still is not counted. */
export async function eventually(what: string, holds: () => unknown, limitMs = 5_000): Promise<number> {
  using time = new RunningTime();
  for (;;) {
    if (await holds()) return time.ms;
    if (time.ms > limitMs || time.elapsedMs > limitMs + LONGEST_STAND_MS)
      throw new Error(`${what}: not within ${limitMs} ms`);
    await sleep(STEP_MS);
  }
}
