import { Fault } from '#src/domain/faults.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import { scheduleFairly } from './fair-timer.ts';

/** As `work`, but rejects with Fault(unavailable) after `limit`; what it still answers then is ignored. */
export function within<T>(clock: Clock, limit: DurationMs, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = scheduleFairly(clock, limit, () => {
      reject(new Fault('unavailable', 'STORE_UNAVAILABLE', `no answer within ${limit} ms`, { retryAfterMs: 1_000 }));
    });
    work.then(resolve, reject).finally(cancel);
  });
}

/** Resolves when `work` is done, well or not, or after `limit`. */
export async function atMost(clock: Clock, limit: DurationMs, work: Promise<unknown>): Promise<void> {
  await within(clock, limit, work).catch(() => {});
}
