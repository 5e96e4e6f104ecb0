import { RunningTime } from './running-time.ts';

/** Looks again and again until it is so; throws after eight seconds. */
export async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  for (let waited = 0; waited < 8_000; waited += 20) {
    if (await what()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('it did not come about');
}

/** In how many milliseconds in which this process could run, and what it rejected with. */
export async function timed(work: () => Promise<unknown>): Promise<{ readonly ms: number; readonly error: unknown }> {
  using time = new RunningTime();
  const error: unknown = await work().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return { ms: time.ms, error };
}
