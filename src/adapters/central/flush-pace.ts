import type { DurationMs } from '#src/domain/time.ts';
import type { Random } from '#src/ports/runtime.ts';

/**
 * How fast the backlog leaves. While events wait that do not fit one batch, batches follow one another without a pause, so
 * an outage is caught up with. But catching up never takes more than its part of the sidecar: after each batch the event
 * loop gets a turn, and when that comes late, or calls wait for the database, the flush rests three times as long as the
 * batch took and the next batch is a quarter of the size. So live traffic has three quarters of the connection and of the
 * thread, and the backlog still leaves several times as fast as a busy sidecar makes events. There is no resting when
 * resting would do more harm: while strict events wait for their commit, at the end of the process, and when the local
 * buffer is near its bound, at which nothing would be granted any more.
 */
const REST_FACTOR = 3;
const SHORTEST_REST_MS = 10;
const LONGEST_REST_MS = 1_000;
const BUSY_PART = 4;
/** A turn of the event loop that comes later than this means that others wait for the thread. */
export const LATE_TURN_MS = 20;

export function restAfter(batchMs: DurationMs, busy: boolean): DurationMs {
  return busy ? Math.min(LONGEST_REST_MS, Math.max(SHORTEST_REST_MS, batchMs * REST_FACTOR)) : 0;
}

export function batchSize(rows: number, busy: boolean): number {
  return busy ? Math.max(1, Math.ceil(rows / BUSY_PART)) : rows;
}

/** Full jitter: anywhere between nothing and a bound that doubles, so that a fleet does not come back in one moment. */
export function backoff(failures: number, baseMs: DurationMs, maxMs: DurationMs, random: Random): DurationMs {
  const bound = Math.min(maxMs, baseMs * 2 ** Math.min(failures - 1, 30));
  const [a = 0, b = 0] = random.bytes(2);
  return bound * ((a * 256 + b) / 65_535);
}
