import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Fleet } from './fleet.ts';
import { RunningTime } from './running-time.ts';

/** How long ValidateSession took between two moments, by the sidecars' own clocks. */
export interface ValidationTimes {
  readonly calls: number;
  /** Share of those that took longer than 100 ms. */
  readonly late: number;
  /** Those that took longer than a second, and than the machine stood still besides. */
  readonly tooLong: number;
  /** By how many milliseconds the test itself was kept from running, 99 of 100 times at most. */
  readonly heldUpMs: number;
}

/** How many took at most so many seconds. */
type Counts = ReadonlyMap<string, number>;

const IN_TIME = '0.1';
/** Of the buckets that the sidecars count in, from a second up. */
const LONGEST = ['1', '2.5', '5', '10', '+Inf'] as const;

/** Over all sidecars, from the start of `work` to its end. */
export async function timedBy(fleet: Fleet, work: () => Promise<void>): Promise<ValidationTimes> {
  const before = await countsOf(fleet);
  const delays = monitorEventLoopDelay({ resolution: 5 });
  using time = new RunningTime();
  delays.enable();
  try {
    await work();
  } finally {
    delays.disable();
  }
  const allowedSeconds = 1 + time.longestStandMs / 1_000;
  const after = await countsOf(fleet);
  const count = (bound: string) => (after.get(bound) ?? 0) - (before.get(bound) ?? 0);
  const calls = count('+Inf');
  const bound = LONGEST.find((each) => each === '+Inf' || Number(each) >= allowedSeconds) ?? '+Inf';
  return {
    calls,
    late: calls === 0 ? 1 : 1 - count(IN_TIME) / calls,
    tooLong: calls - count(bound),
    heldUpMs: delays.percentile(99) / 1e6,
  };
}

async function countsOf(fleet: Fleet): Promise<Counts> {
  const texts = await Promise.all(
    fleet.sidecars.map(async ({ adminUrl }) => (await fetch(`${adminUrl}/metrics`)).text()),
  );
  const buckets = /_call_duration_seconds_bucket\{.*\/ValidateSession".*le="([^"]+)"\} (\d+)$/gm;
  const counts = new Map<string, number>();
  for (const [, bound = '', value] of texts.join('\n').matchAll(buckets))
    counts.set(bound, (counts.get(bound) ?? 0) + Number(value));
  return counts;
}
