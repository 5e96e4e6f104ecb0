import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { EventLoopLag } from '#src/adapters/telemetry/event-loop-lag.ts';

function block(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

describe('event loop lag', () => {
  it('is small while nothing blocks', async () => {
    using lag = new EventLoopLag();
    await sleep(600);
    expect(lag.worst()).toBeLessThan(200);
  });

  it('shows a block while it lasts, and remembers it afterwards', async () => {
    using lag = new EventLoopLag();
    block(1_300);
    expect(lag.current()).toBeGreaterThan(700);
    await sleep(1_100);
    expect(lag.current()).toBeLessThan(300);
    expect(lag.worst()).toBeGreaterThan(700);
  });
});
