import { randomFillSync } from 'node:crypto';
import type { Clock, Random } from '../ports/runtime.ts';

/** A delay beyond 2^31-1 ms makes a Node timer fire at once. */
const LONGEST_TIMER_MS = 2_147_483_647;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  schedule(delay, run) {
    const timer = setTimeout(run, Math.min(Math.max(delay, 0), LONGEST_TIMER_MS));
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/** Random bytes come from one pooled read of the CSPRNG, since ids need 16 at a time and a system call costs more. */
const POOL_BYTES = 4_096;
const pool = Buffer.allocUnsafe(POOL_BYTES);
let used = POOL_BYTES;

export const systemRandom: Random = {
  bytes(length) {
    const out = new Uint8Array(length);
    if (length > POOL_BYTES / 8) return randomFillSync(out);
    if (used + length > POOL_BYTES) {
      randomFillSync(pool);
      used = 0;
    }
    out.set(pool.subarray(used, used + length));
    // What was handed out must not stay readable in the pool.
    pool.fill(0, used, used + length);
    used += length;
    return out;
  },
};
