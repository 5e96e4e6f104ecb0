import type { Context, Measurement } from '../context.ts';
import { h2load, type Load } from '../h2load.ts';
import { residentDuring, Script } from '../process.ts';
import { median, type Row } from '../row.ts';
import { sampleOf, VALIDATE_PATH } from '../sample-session.ts';
import { newDirectory, removeDirectory, Sidecar } from '../sidecar.ts';

/** The hot path, warm, against a bare server that takes and gives the same messages. */
export const validateSession: Measurement = {
  name: 'validate-session',
  async measure(context) {
    const directory = newDirectory();
    try {
      await using sidecar = await Sidecar.start(directory);
      const { request, response } = await sampleOf(sidecar.grpcPort);
      const echo = new Script(context.bare('echo'), [], { ECHO_RESPONSE: response.toString('base64url') });
      try {
        return await compare(context, sidecar, { pid: echo.pid, grpcPort: Number(await echo.line()) }, request);
      } finally {
        await echo.stop();
      }
    } finally {
      removeDirectory(directory);
    }
  },
};

interface Target {
  readonly pid: number;
  readonly grpcPort: number;
}

async function compare({ quick, note }: Context, ours: Target, bare: Target, message: Uint8Array): Promise<Row[]> {
  const target = { path: VALIDATE_PATH, message };
  const full = { ...target, connections: 4, inFlight: 16, requests: quick ? 10_000 : 40_000 };
  const single = { ...target, connections: 1, inFlight: 1, requests: quick ? 2_000 : 10_000, latencies: true };
  for (const { grpcPort } of [ours, bare]) await h2load({ ...full, port: grpcPort });

  const throughput: Pair[] = [];
  const memory = { ours: 0, bare: 0 };
  for (let round = 0; round < (quick ? 3 : 9); round += 1) {
    const a = await residentDuring(ours.pid, () => h2load({ ...full, port: ours.grpcPort }));
    const b = await residentDuring(bare.pid, () => h2load({ ...full, port: bare.grpcPort }));
    throughput.push({ ours: a.result, bare: b.result });
    memory.ours = Math.max(memory.ours, a.peak);
    memory.bare = Math.max(memory.bare, b.peak);
    note(`${a.result.requestsPerSecond.toFixed(0)}/s, bare ${b.result.requestsPerSecond.toFixed(0)}/s`);
  }
  const latency: Pair[] = [];
  for (let round = 0; round < (quick ? 3 : 7); round += 1) {
    const pair = {
      ours: await h2load({ ...single, port: ours.grpcPort }),
      bare: await h2load({ ...single, port: bare.grpcPort }),
    };
    latency.push(pair);
    note(`p50 ${pair.ours.p50} µs, bare ${pair.bare.p50} µs`);
  }

  const rate = ({ requestsPerSecond }: Load) => requestsPerSecond;
  const ratio = median(throughput.map((pair) => rate(pair.ours) / rate(pair.bare)));
  const added = median(latency.map((pair) => pair.ours.p50 - pair.bare.p50));
  return [
    {
      name: 'ValidateSession, warm',
      value: median(throughput.map((pair) => rate(pair.ours))),
      unit: 'calls/s',
      baseline: median(throughput.map((pair) => rate(pair.bare))),
      ratio,
      goal: 'ratio ≥ 0.85',
      met: ratio >= 0.85,
    },
    {
      name: 'ValidateSession, p50 of single calls',
      value: median(latency.map((pair) => pair.ours.p50)),
      unit: 'µs',
      baseline: median(latency.map((pair) => pair.bare.p50)),
      ratio: median(latency.map((pair) => pair.ours.p50 / pair.bare.p50)),
      goal: `≤ 50 µs added (${added} added)`,
      met: added <= 50,
    },
    {
      name: 'resident under full ValidateSession load',
      value: memory.ours,
      unit: 'MiB',
      baseline: memory.bare,
      ratio: memory.ours / memory.bare,
      goal: '≤ 128 MiB',
      met: memory.ours <= 128,
    },
  ];
}

interface Pair {
  readonly ours: Load;
  readonly bare: Load;
}
