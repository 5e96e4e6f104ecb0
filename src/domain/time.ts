/** Milliseconds since 1970-01-01T00:00:00Z, by the server's clock. Intervals are half-open: at `expiresAt` it is over. */
export type EpochMs = number;

/** A length of time in milliseconds. */
export type DurationMs = number;

export const SECOND: DurationMs = 1_000;
export const MINUTE: DurationMs = 60 * SECOND;
export const HOUR: DurationMs = 60 * MINUTE;
export const DAY: DurationMs = 24 * HOUR;

/** True from the instant `expiresAt` on. */
export function isOver(expiresAt: EpochMs, now: EpochMs): boolean {
  return now >= expiresAt;
}
