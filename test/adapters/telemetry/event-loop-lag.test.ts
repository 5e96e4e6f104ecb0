import { afterEach, describe, expect, it, vi } from 'vitest';
import { EventLoopLag } from '#src/adapters/telemetry/event-loop-lag.ts';

function block(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

afterEach(() => {
  vi.useRealTimers();
});

describe('event loop lag', () => {
  it('is none while timers come when they are due', () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    using lag = new EventLoopLag();
    for (let passed = 0; passed < 10_000; passed += 100) {
      vi.advanceTimersByTime(100);
      expect([lag.current(), lag.worst()]).toEqual([0, 0]);
    }
  });

  it('shows a block while it lasts, and remembers it afterwards', async () => {
    using lag = new EventLoopLag();
    block(1_300);
    expect(lag.current()).toBeGreaterThan(700);
    await vi.waitUntil(() => lag.current() < 300, { timeout: 10_000 });
    expect(lag.worst()).toBeGreaterThan(700);
  });

  it('forgets a block after ten seconds', () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    let stoodMs = 0;
    using lag = new EventLoopLag(() => performance.now() + stoodMs);
    vi.advanceTimersByTime(400);
    stoodMs = 1_300;
    expect(lag.current()).toBe(1_200);
    vi.advanceTimersByTime(9_600);
    expect(lag.worst()).toBe(1_300);
    vi.advanceTimersByTime(1_000);
    expect([lag.current(), lag.worst()]).toEqual([0, 0]);
  });
});
