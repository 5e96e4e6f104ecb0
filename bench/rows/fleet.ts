import { setTimeout as pause } from 'node:timers/promises';
import type { Measurement } from '../context.ts';
import { METERED, prepareMeter, type Reading, readMeter } from '../fleet-meter.ts';
import { runScript, Script } from '../process.ts';
import type { Row } from '../row.ts';
import type { Sidecar } from '../sidecar.ts';
import { Stores } from '../stores.ts';

/** Of one sidecar. */
const VALIDATIONS_PER_SECOND = 5;
const SETTLE_MS = 5_000;
/** At once. All are through before the first has its first minute, with its sweep and its signed head. */
const STARTING = 4;

interface Result {
  readonly calls: number;
  readonly refused: number;
  readonly p50: number;
  readonly p99: number;
}

/** What a sidecar costs in one second. */
interface Cost {
  readonly sidecars: number;
  readonly idle: Reading;
  readonly busy: Reading;
  readonly load: Result;
}

/** More and more sidecars over one PostgreSQL and one Redis, each with the same small load: what each of them costs. */
export const fleet: Measurement = {
  name: 'fleet',
  async measure({ quick, note }) {
    const sizes = quick ? [1, 4] : [1, 4, 12, 24];
    const seconds = quick ? 5 : 10;
    await using stores = await Stores.start({ postgresSettings: METERED });
    await prepareMeter(stores);
    const costs: Cost[] = [];
    let heard: readonly Row[] = [];
    // New ones for each size: what the last load left behind, such as uses to be noted, would count as idleness.
    for (const size of sizes) {
      await using stack = new AsyncDisposableStack();
      const sidecars: Sidecar[] = [];
      while (sidecars.length < size) {
        const some = Array.from({ length: Math.min(STARTING, size - sidecars.length) }, () => stores.sidecar());
        for (const starting of some) sidecars.push(stack.use(await starting));
      }
      const cost = await costOf(stores, sidecars, seconds);
      costs.push(cost);
      note(described(cost));
      heard = await fanOut(stores, sidecars, cost, quick ? 100 : 400);
    }
    return [...rowsOf(costs), ...heard];
  },
};

async function costOf(stores: Stores, sidecars: readonly Sidecar[], seconds: number): Promise<Cost> {
  await pause(SETTLE_MS);
  const idle = await meter(stores, sidecars, () => pause(seconds * 1000));
  const ports = sidecars.map(({ grpcPort }) => grpcPort).join(',');
  const args = [ports, seconds, VALIDATIONS_PER_SECOND].map(String);
  const client = new Script('bench/clients/fleet-load.ts', args);
  try {
    await client.line();
    const load = { result: '' };
    const busy = await meter(stores, sidecars, async () => {
      load.result = await client.line();
    });
    return { sidecars: sidecars.length, idle, busy, load: JSON.parse(load.result) as Result };
  } finally {
    await client.stop();
  }
}

/** Sessions end at one sidecar and are looked at on another; what the rest spends is for hearing of it. */
async function fanOut(
  stores: Stores,
  [a, b, ...rest]: readonly Sidecar[],
  { idle }: Cost,
  ends: number,
): Promise<readonly Row[]> {
  if (!a || !b || rest.length === 0) return [];
  const [before, begun] = [await readMeter(stores, rest), performance.now()];
  await runScript('bench/clients/revocations.ts', [a.grpcPort, b.grpcPort, ends, 4, 20].map(String));
  const seconds = (performance.now() - begun) / 1000;
  const after = await readMeter(stores, rest);
  const extra = after.sidecarCpu - before.sidecarCpu - idle.sidecarCpu * seconds * rest.length;
  const value = (extra * 1000) / ends / rest.length;
  return [
    {
      name: `processor time of each of ${rest.length} others per end`,
      value,
      unit: 'µs',
      baseline: null,
      ratio: null,
      goal: 'none',
      met: true,
    },
  ];
}

/** Per second and sidecar. */
async function meter(stores: Stores, sidecars: readonly Sidecar[], work: () => Promise<void>): Promise<Reading> {
  const before = await readMeter(stores, sidecars);
  const begun = performance.now();
  await work();
  const seconds = (performance.now() - begun) / 1000;
  const after = await readMeter(stores, sidecars);
  const grown = Object.entries(after).map(([name, value]) => [
    name,
    (value - before[name as keyof Reading]) / seconds / sidecars.length,
  ]);
  const { postgresConnections, redisConnections, sidecarMemory } = after;
  const held = Object.entries({ postgresConnections, redisConnections, sidecarMemory }).map(([name, value]) => [
    name,
    value / sidecars.length,
  ]);
  return Object.fromEntries([...grown, ...held]) as Reading;
}

function described({ sidecars, idle, busy, load }: Cost): string {
  const line = (name: string, reading: Reading) =>
    `  ${name}: PostgreSQL ${reading.postgresConnections.toFixed(2)} connections, ${reading.postgresStatements.toFixed(1)} statements/s, ` +
    `${reading.postgresRows.toFixed(1)} rows/s, ${(reading.postgresBytes / 1000).toFixed(1)} kB/s, ${reading.postgresCpu.toFixed(2)} ms/s; ` +
    `Redis ${reading.redisConnections.toFixed(2)} connections, ${reading.redisCommands.toFixed(1)} commands/s, ` +
    `${(reading.redisBytes / 1000).toFixed(1)} kB/s, ${reading.redisCpu.toFixed(2)} ms/s; ` +
    `sidecar ${reading.sidecarCpu.toFixed(1)} ms/s, ${reading.sidecarMemory.toFixed(0)} MiB`;
  return [
    `${sidecars} sidecars, each:`,
    line('idle', idle),
    line('busy', busy),
    `  ${load.calls} calls, ${load.refused} refused, p50 ${load.p50.toFixed(2)} ms, p99 ${load.p99.toFixed(1)} ms`,
  ].join('\n');
}

function rowsOf(costs: readonly Cost[]): readonly Row[] {
  const [first, last] = [costs.at(0), costs.at(-1)];
  if (!first || !last) return [];
  const row = (name: string, unit: string, of: (cost: Cost) => number, isFlat = true): Row => {
    const [baseline, value] = [of(first), of(last)];
    const ratio = value / baseline;
    const goal = isFlat ? 'ratio ≤ 1.25' : 'none: grows with the fleet';
    return {
      name: `fleet of ${last.sidecars}, each: ${name}`,
      value,
      unit,
      baseline,
      ratio,
      goal,
      met: !isFlat || ratio <= 1.25,
    };
  };
  return [
    row('PostgreSQL connections', '', ({ busy }) => busy.postgresConnections),
    row('PostgreSQL statements, idle', '1/s', ({ idle }) => idle.postgresStatements),
    row('PostgreSQL statements, busy', '1/s', ({ busy }) => busy.postgresStatements),
    row('PostgreSQL processor time, busy', 'ms/s', ({ busy }) => busy.postgresCpu),
    row('Redis connections', '', ({ busy }) => busy.redisConnections),
    row('Redis commands, idle', '1/s', ({ idle }) => idle.redisCommands),
    row('Redis commands, busy', '1/s', ({ busy }) => busy.redisCommands),
    row('Redis bytes, busy', 'B/s', ({ busy }) => busy.redisBytes, false),
    row('own processor time, busy', 'ms/s', ({ busy }) => busy.sidecarCpu, false),
    row('resident', 'MiB', ({ busy }) => busy.sidecarMemory),
  ];
}
