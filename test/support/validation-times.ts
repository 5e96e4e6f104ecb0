import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Fleet } from './fleet.ts';

/** How long ValidateSession took between two moments, by the sidecars' own clocks. */
export interface ValidationTimes {
  readonly calls: number;
  /** Share of those that took longer than 100 ms. */
  readonly late: number;
  readonly overOneSecond: number;
  /** By how many milliseconds the test itself was kept from running, 99 of 100 times at most. */
  readonly heldUpMs: number;
}

interface Counts {
  readonly all: number;
  readonly inTime: number;
  readonly inASecond: number;
}

/** Over all sidecars, from the start of `work` to its end. */
export async function timedBy(fleet: Fleet, work: () => Promise<void>): Promise<ValidationTimes> {
  const before = await countsOf(fleet);
  const delays = monitorEventLoopDelay({ resolution: 5 });
  delays.enable();
  try {
    await work();
  } finally {
    delays.disable();
  }
  const after = await countsOf(fleet);
  const calls = after.all - before.all;
  return {
    calls,
    late: calls === 0 ? 1 : 1 - (after.inTime - before.inTime) / calls,
    overOneSecond: calls - (after.inASecond - before.inASecond),
    heldUpMs: delays.percentile(99) / 1e6,
  };
}

async function countsOf(fleet: Fleet): Promise<Counts> {
  const texts = await Promise.all(
    fleet.sidecars.map(async ({ adminUrl }) => (await fetch(`${adminUrl}/metrics`)).text()),
  );
  const count = (bound: string) => {
    const line = new RegExp(`_call_duration_seconds_bucket\\{.*/ValidateSession".*le="${bound}"\\} (\\d+)$`, 'gm');
    return [...texts.join('\n').matchAll(line)].reduce((sum, [, value]) => sum + Number(value), 0);
  };
  return { all: count('\\+Inf'), inTime: count('0\\.1'), inASecond: count('1') };
}
