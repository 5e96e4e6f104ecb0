import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { admits, noteGood, noteSend, type SendWindow, tripped } from '#src/domain/send-window.ts';
import { MINUTE, SECOND } from '#src/domain/time.ts';

const T0 = Date.UTC(2026, 0, 15, 12, 0, 0);
const THREE = { max: 3, windowMs: 10 * MINUTE };

/** Sends at these instants as far as the limit admits them; answers when it did, and the window at the end. */
function sendAt(instants: readonly number[], limit: { readonly max: number; readonly windowMs: number }) {
  let window: SendWindow = [];
  const admitted: number[] = [];
  for (const now of instants) {
    if (admits(window, limit, now).outcome !== 'admitted') continue;
    window = noteSend(window, limit, now);
    admitted.push(now);
  }
  return { admitted, window };
}

describe('a limit on sends', () => {
  it('admits three, then none until the first is older than the window', () => {
    const { admitted, window } = sendAt([T0, T0 + 1, T0 + 2, T0 + 3], THREE);
    expect(admitted).toEqual([T0, T0 + 1, T0 + 2]);
    expect(admits(window, THREE, T0 + 3)).toEqual({ outcome: 'full', retryAfterMs: THREE.windowMs - 2 });
    expect(admits(window, THREE, T0 + THREE.windowMs)).toEqual({ outcome: 'full', retryAfterMs: 1 });
    expect(admits(window, THREE, T0 + THREE.windowMs + 1)).toEqual({ outcome: 'admitted' });
  });

  it('says when to come back, and not an instant too early', () => {
    const step = fc.integer({ min: 0, max: 4 * MINUTE });
    fc.assert(
      fc.property(fc.array(step, { minLength: 4, maxLength: 30 }), fc.integer({ min: 1, max: 40 }), (gaps, max) => {
        const limit = { max, windowMs: 10 * MINUTE };
        const instants = gaps.map((_, index) => T0 + gaps.slice(0, index).reduce((sum, gap) => sum + gap, 0));
        const { window } = sendAt(instants, limit);
        const now = instants.at(-1) ?? T0;
        const admission = admits(window, limit, now);
        if (admission.outcome === 'admitted') return;
        expect(admits(window, limit, now + admission.retryAfterMs - 1).outcome).toBe('full');
        expect(admits(window, limit, now + admission.retryAfterMs)).toEqual({ outcome: 'admitted' });
      }),
    );
  });

  it('never admits more than its maximum within any window, however sends come', () => {
    const gap = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 5 * MINUTE }));
    fc.assert(
      fc.property(fc.array(gap, { maxLength: 150 }), fc.integer({ min: 1, max: 40 }), (gaps, max) => {
        const limit = { max, windowMs: 10 * MINUTE };
        let now = T0;
        const { admitted } = sendAt(
          gaps.map((each) => (now += each)),
          limit,
        );
        expect(mostWithin(admitted, limit.windowMs)).toBeLessThanOrEqual(max);
      }),
    );
  });

  it('never admits more within any stretch of real time either while clocks are set back and forth', () => {
    // A clock that goes ahead is believed; what was sent by it counts for longer when it is set back.
    const step = fc.record({ gap: fc.integer({ min: 0, max: 3 * MINUTE }), back: fc.integer({ min: 0, max: MINUTE }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 1, max: 20 }), (steps, max) => {
        const limit = { max, windowMs: 10 * MINUTE };
        let window: SendWindow = [];
        let real = T0;
        let behind = 0;
        const admitted: number[] = [];
        for (const { gap, back } of steps) {
          real += gap;
          behind += back;
          const now = real - behind;
          if (admits(window, limit, now).outcome !== 'admitted') continue;
          window = noteSend(window, limit, now);
          admitted.push(real);
        }
        expect(mostWithin(admitted, limit.windowMs)).toBeLessThanOrEqual(max);
      }),
    );
  });

  it('keeps few steps, however many sends there were', () => {
    const limit = { max: 100_000, windowMs: 60 * MINUTE };
    let window: SendWindow = [];
    for (let at = 0; at < 3 * 60 * MINUTE; at += 2 * SECOND) window = noteSend(window, limit, T0 + at);
    expect(window.length).toBeLessThanOrEqual(63);
    expect(window.reduce((sum, { sent }) => sum + sent, 0)).toBeGreaterThanOrEqual(1_800);
  });

  it('keeps the steps in order when a clock is set back', () => {
    const window = noteSend(noteSend([], THREE, T0 + 1_000), THREE, T0);
    expect(window).toEqual([{ at: T0 + 1_000, sent: 2, good: 0 }]);
  });
});

describe('a ratio of sends that came to something', () => {
  const ratio = { scope: 's', name: 'r', minSends: 4, minShare: 0.5, windowMs: 10 * MINUTE, graceMs: MINUTE };
  const sends = (count: number, good: number): SendWindow => [{ at: T0, sent: count, good }];
  const judged = T0 + MINUTE;

  it('trips below the share, not at it, and not before there are enough', () => {
    expect(tripped(sends(4, 2), ratio, judged)).toBeUndefined();
    expect(tripped(sends(4, 1), ratio, judged)).toBe(ratio.windowMs - MINUTE);
    expect(tripped(sends(3, 0), ratio, judged)).toBeUndefined();
  });

  it('does not judge sends that are too young, nor those out of the window', () => {
    expect(tripped(sends(4, 0), ratio, judged - 1)).toBeUndefined();
    expect(tripped(sends(4, 0), ratio, T0 + ratio.windowMs)).toBeUndefined();
  });

  it('makes the newest send good that is not yet, and no more than there are', () => {
    const window = [
      { at: T0, sent: 1, good: 0 },
      { at: T0 + 1, sent: 2, good: 1 },
    ];
    const once = noteGood(window);
    expect(once).toEqual([
      { at: T0, sent: 1, good: 0 },
      { at: T0 + 1, sent: 2, good: 2 },
    ]);
    expect(noteGood(noteGood(noteGood(once)))).toEqual(window.map((bucket) => ({ ...bucket, good: bucket.sent })));
    expect(noteGood([])).toEqual([]);
  });
});

/** The most of these instants, in order, within any closed window of this length. */
function mostWithin(instants: readonly number[], windowMs: number): number {
  return Math.max(0, ...instants.map((from) => instants.filter((at) => at >= from && at <= from + windowMs).length));
}
