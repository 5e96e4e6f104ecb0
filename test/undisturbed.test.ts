import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { undisturbed } from './support/undisturbed.ts';

/** Keeps everything in this process from running. */
function standStill(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

it('takes what fails while the machine runs for a failure', async () => {
  let goes = 0;
  const failing = undisturbed(async () => {
    goes += 1;
    await sleep(100);
    throw new Error('too late');
  }, 60_000);
  await expect(failing).rejects.toThrow('too late');
  expect(goes).toBe(1);
});

it('makes what fails while the machine stands still once more, and again, and no more', async () => {
  let goes = 0;
  const failing = undisturbed(async (go) => {
    goes = go;
    await sleep(100);
    standStill(400);
    throw new Error('too late');
  });
  await expect(failing).rejects.toThrow('too late');
  expect(goes).toBe(3);
});
