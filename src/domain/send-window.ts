import type { DurationMs, EpochMs } from './time.ts';

/** At most `max` sends within any window of `windowMs`. */
export interface SendLimit {
  /** Whose: unique within a realm, for instance `sms:number:{digest}`. */
  readonly scope: string;
  /** What it is called in answers, events and metrics, for instance `sms_per_number`. */
  readonly name: string;
  readonly max: number;
  readonly windowMs: DurationMs;
  /** Counted over all realms together: what is bounded is not the realm's own, such as a telephone or money. */
  readonly everywhere?: boolean;
}

/** Stops a scope when fewer than `minShare` of at least `minSends` sends within the window came to something. */
export interface SendRatio {
  readonly scope: string;
  readonly name: string;
  readonly minSends: number;
  /** 0 to 1. */
  readonly minShare: number;
  readonly windowMs: DurationMs;
  /** Sends this young are not judged yet: the person may still be typing. */
  readonly graceMs: DurationMs;
}

/** Sends that fell into one step of time. Up to EXACT sends a step is a millisecond, beyond it a 60th of the window. */
export interface SendBucket {
  readonly at: EpochMs;
  readonly sent: number;
  readonly good: number;
}

/** Oldest first; empty for a scope that nothing was sent for. */
export type SendWindow = readonly SendBucket[];

const EXACT = 16;
const STEPS = 60;

export type Admission =
  | { readonly outcome: 'admitted' }
  | { readonly outcome: 'full'; readonly retryAfterMs: DurationMs };

/** Whether one more send fits at `now`. A step counts until all of it is out of the window: never more than `max`. */
export function admits(window: SendWindow, limit: Pick<SendLimit, 'max' | 'windowMs'>, now: EpochMs): Admission {
  const step = stepOf(limit);
  const live = window.filter(({ at }) => at + step + limit.windowMs > now);
  let sent = live.reduce((sum, bucket) => sum + bucket.sent, 0);
  if (sent < limit.max) return { outcome: 'admitted' };
  for (const bucket of live) {
    sent -= bucket.sent;
    if (sent < limit.max) return { outcome: 'full', retryAfterMs: bucket.at + step + limit.windowMs - now };
  }
  return { outcome: 'full', retryAfterMs: limit.windowMs };
}

/** The window with one more send; what is out of every use is dropped. A clock that was set back counts on. */
export function noteSend(window: SendWindow, limit: Pick<SendLimit, 'max' | 'windowMs'>, now: EpochMs): SendWindow {
  const step = stepOf(limit);
  const live = window.filter(({ at }) => at + step + limit.windowMs > now);
  const at = Math.max(step === 1 ? now : now - (now % step), live.at(-1)?.at ?? 0);
  const last = live.at(-1);
  if (last?.at === at) return [...live.slice(0, -1), { ...last, sent: last.sent + 1 }];
  return [...live, { at, sent: 1, good: 0 }];
}

/** The window with the newest send that is not yet good made good. */
export function noteGood(window: SendWindow): SendWindow {
  const index = window.findLastIndex(({ sent, good }) => good < sent);
  return window.map((bucket, at) => (at === index ? { ...bucket, good: bucket.good + 1 } : bucket));
}

/** Whether so few of the sends came to something that no more should be made; with how long that lasts. */
export function tripped(window: SendWindow, ratio: SendRatio, now: EpochMs): DurationMs | undefined {
  const judged = window.filter(({ at }) => at + ratio.windowMs > now && at + ratio.graceMs <= now);
  const sent = judged.reduce((sum, bucket) => sum + bucket.sent, 0);
  const good = judged.reduce((sum, bucket) => sum + bucket.good, 0);
  if (sent < ratio.minSends || good >= sent * ratio.minShare) return undefined;
  const oldest = judged[0];
  return oldest ? Math.max(1, oldest.at + ratio.windowMs - now) : ratio.windowMs;
}

function stepOf({ max, windowMs }: Pick<SendLimit, 'max' | 'windowMs'>): DurationMs {
  return max <= EXACT ? 1 : Math.max(1, Math.ceil(windowMs / STEPS));
}
