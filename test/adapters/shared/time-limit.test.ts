import { expect, it } from 'vitest';
import { atMost, within } from '#src/adapters/shared/time-limit.ts';
import { ManualClock, settle } from '../../support/clock.ts';

it('takes an answer that had arrived by then, though the process read it only after the limit', async () => {
  const clock = new ManualClock();
  // Read in the turn in which timers are late.
  const answered = within(clock, 10, new Promise<string>((resolve) => void setImmediate(() => resolve('answer'))));
  clock.advance(10);
  expect(await answered).toBe('answer');
});

it('gives up what has not answered by the limit, and hears no more of it', async () => {
  const clock = new ManualClock();
  const { promise, reject } = Promise.withResolvers<never>();
  const given = within(clock, 10, promise).catch((error: unknown) => error);
  const waited = atMost(clock, 10, promise);
  clock.advance(10);
  expect(await given).toMatchObject({ kind: 'unavailable', message: 'no answer within 10 ms' });
  await waited;
  reject(new Error('late'));
  await settle();
  expect(clock.pending).toBe(0);
});
