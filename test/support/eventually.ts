import { setTimeout as sleep } from 'node:timers/promises';

/** Looks again until it holds; answers after how many milliseconds it did. */
export async function eventually(what: string, holds: () => unknown, limitMs = 5_000): Promise<number> {
  const begun = performance.now();
  for (;;) {
    if (await holds()) return performance.now() - begun;
    if (performance.now() - begun > limitMs) throw new Error(`${what}: not within ${limitMs} ms`);
    await sleep(2);
  }
}
