import { describe, expect, it } from 'vitest';
import { CoarseTimer } from '#src/services/challenges/coarse-timer.ts';
import { ManualClock } from '../../support/clock.ts';

const timer = () => {
  const clock = new ManualClock();
  return { clock, timer: new CoarseTimer({ clock, stepMs: 250 }) };
};

describe('a coarse timer', () => {
  it('runs each deadline at its time or up to one step later, never early, on one timer of the clock', () => {
    const { clock, timer: coarse } = timer();
    const ran = new Map<number, number>();
    const delays = [0, 1, 249, 250, 251, 1_000, 1_001, 9_999, 10_000];
    for (const delay of delays) coarse.after(delay, () => ran.set(delay, clock.monotonic()));
    expect(clock.pending).toBe(1);
    for (let i = 0; i < 11_000; i += 50) clock.advance(50);
    for (const delay of delays) {
      expect(ran.get(delay)).toBeGreaterThanOrEqual(delay);
      expect(ran.get(delay)).toBeLessThanOrEqual(delay + 250);
    }
  });

  it('runs nothing that was cancelled, and rests while there is nothing to do', () => {
    const { clock, timer: coarse } = timer();
    let ran = 0;
    const cancel = coarse.after(500, () => {
      ran += 1;
    });
    cancel();
    cancel();
    clock.advance(1_000);
    expect([ran, clock.pending]).toEqual([0, 0]);
  });

  it('takes deadlines that are set while others run', () => {
    const { clock, timer: coarse } = timer();
    const ran: number[] = [];
    const again = () => {
      ran.push(clock.monotonic());
      if (ran.length < 3) coarse.after(1_000, again);
    };
    coarse.after(1_000, again);
    clock.advance(10_000);
    expect(ran).toHaveLength(3);
  });
});
