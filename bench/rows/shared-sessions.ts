import { setTimeout as pause } from 'node:timers/promises';
import type { Context, Measurement } from '../context.ts';
import type { Load } from '../h2load.ts';
import { inTurns, medianOf } from '../in-turns.ts';
import { residentMiB, Script } from '../process.ts';
import { median, type Row } from '../row.ts';
import { sampleOf, VALIDATE_PATH } from '../sample-session.ts';
import type { Sidecar } from '../sidecar.ts';
import { Stores } from '../stores.ts';

const IDLE_MS = 3_000;
/** Of the load while Redis hangs. */
const LANES = 50;
const PER_SECOND = 500;
const rate = ({ requestsPerSecond }: Load) => requestsPerSecond;

/** ValidateSession of sidecars that share state: from memory, by Redis on every call, and while Redis hangs. */
export const sharedSessions: Measurement = {
  name: 'shared-sessions',
  async measure(context) {
    await using stores = await Stores.start();
    const rows: Row[] = [];
    {
      await using remembering = await stores.sidecar();
      await pause(IDLE_MS);
      rows.push(await idle(context, remembering));
      await using asking = await stores.sidecar({ SALLYPORT_SESSIONS_CACHE_SIZE: '0' });
      rows.push(...(await compared(context, stores, remembering, asking)));
      rows.push(...(await hanging(context, stores, asking)));
    }
    return rows;
  },
};

async function idle({ bare }: Context, sidecar: Sidecar): Promise<Row> {
  const started = new Script(bare('echo'));
  try {
    await started.line();
    await pause(IDLE_MS);
    const [value, baseline] = [residentMiB(sidecar.pid), residentMiB(started.pid)];
    const ratio = value / baseline;
    return { name: 'resident idle, shared', value, unit: 'MiB', baseline, ratio, goal: '≤ 128 MiB', met: value <= 128 };
  } finally {
    await started.stop();
  }
}

async function compared(
  { bare, quick, note }: Context,
  stores: Stores,
  remembering: Sidecar,
  asking: Sidecar,
): Promise<readonly Row[]> {
  const { request, response } = await sampleOf(asking.grpcPort);
  const answer = { ECHO_RESPONSE: response.toString('base64url') };
  const echo = new Script(bare('echo'), [], answer);
  const echoWithGet = new Script(bare('echo'), [], { ...answer, ECHO_REDIS: String(stores.redis.port) });
  try {
    const ports = {
      memory: remembering.grpcPort,
      redis: asking.grpcPort,
      echo: Number(await echo.line()),
      get: Number(await echoWithGet.line()),
    };
    const target = { path: VALIDATE_PATH, message: request };
    const full = { ...target, connections: 4, inFlight: 16, requests: quick ? 10_000 : 25_000 };
    const rounds = await inTurns(ports, full, quick ? 3 : 5);
    for (const { memory, redis, echo, get } of rounds)
      note(
        `memory ${rate(memory).toFixed(0)}/s, Redis ${rate(redis).toFixed(0)}/s, echo ${rate(echo).toFixed(0)}/s, echo with GET ${rate(get).toFixed(0)}/s`,
      );
    const single = { ...target, connections: 1, inFlight: 1, requests: quick ? 2_000 : 3_000, latencies: true };
    const alone = await inTurns(ports, single, quick ? 3 : 5);
    const memory = medianOf(rounds, rate, 'memory', 'echo');
    const redis = medianOf(rounds, rate, 'redis', 'echo');
    const get = medianOf(rounds, rate, 'redis', 'get');
    const p50 = medianOf(alone, (load) => load.p50, 'redis', 'get');
    return [
      {
        name: 'ValidateSession, warm, shared',
        ...memory,
        unit: 'calls/s',
        goal: 'ratio ≥ 0.85',
        met: memory.ratio >= 0.85,
      },
      {
        name: 'ValidateSession, Redis on every call',
        ...redis,
        unit: 'calls/s',
        goal: 'ratio ≥ 0.5',
        met: redis.ratio >= 0.5,
      },
      { name: 'the same, bare one with a GET too', ...get, unit: 'calls/s', goal: 'none', met: true },
      { name: 'the same, p50 of single calls', ...p50, unit: 'µs', goal: 'none', met: true },
    ];
  } finally {
    await Promise.all([echo.stop(), echoWithGet.stop()]);
  }
}

interface Hanging {
  readonly p99: number;
  readonly max: number;
  readonly calls: number;
  /** How many had no answer on the session, by status. */
  readonly refused: Readonly<Record<string, number>>;
}

/** All calls of the outage, those that find out that Redis does not answer included. */
async function hanging({ quick, note }: Context, stores: Stores, sidecar: Sidecar): Promise<readonly Row[]> {
  const args = [sidecar.grpcPort, LANES, PER_SECOND, quick ? 3_000 : 6_000].map(String);
  const steady = async (onceGoing: () => Promise<void>) => {
    const client = new Script('bench/clients/steady-validations.ts', args);
    try {
      await client.line();
      await onceGoing();
      return JSON.parse(await client.line()) as Hanging;
    } finally {
      await client.stop();
    }
  };
  const results: { readonly before: Hanging; readonly frozen: Hanging }[] = [];
  for (let round = 0; round < (quick ? 1 : 3); round += 1) {
    const before = await steady(async () => {});
    const frozen = await steady(() => stores.redis.freeze());
    await stores.redis.thaw();
    await pause(IDLE_MS);
    results.push({ before, frozen });
    note(
      `p99 ${frozen.p99.toFixed(1)} ms, longest ${frozen.max.toFixed(1)} ms, without a verdict ${JSON.stringify(frozen.refused)} of ${frozen.calls}; before p99 ${before.p99.toFixed(1)} ms`,
    );
  }
  const row = (name: string, of: (result: Hanging) => number): Row => {
    const value = median(results.map(({ frozen }) => of(frozen)));
    const ratio = median(results.map(({ frozen, before }) => of(frozen) / of(before)));
    const baseline = median(results.map(({ before }) => of(before)));
    return { name, value, unit: 'ms', baseline, ratio, goal: '≤ 100 ms', met: value <= 100 };
  };
  return [
    row('ValidateSession p99 from the moment Redis hangs', ({ p99 }) => p99),
    row('the longest of these calls', ({ max }) => max),
    {
      name: 'those of them without a verdict',
      value: median(results.map(({ frozen }) => withoutVerdict(frozen))),
      unit: '%',
      baseline: median(results.map(({ before }) => withoutVerdict(before))),
      ratio: null,
      goal: '0 %',
      met: results.every(({ frozen }) => withoutVerdict(frozen) === 0),
    },
  ];
}

function withoutVerdict({ calls, refused }: Hanging): number {
  return (Object.values(refused).reduce((sum, count) => sum + count, 0) / calls) * 100;
}
