import type { Context, Measurement } from '../context.ts';
import { seedSharedPeople } from '../people.ts';
import { runScript, Script } from '../process.ts';
import { median, type Row } from '../row.ts';
import type { Sidecar } from '../sidecar.ts';
import { Stores } from '../stores.ts';

interface Result {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly failed: number;
}

type Shares = Pick<Result, 'p50' | 'p99'>;

interface Pair<T> {
  readonly ours: T;
  readonly bare: T;
}

const IN_FLIGHT = 64;
const CONNECTIONS = 4;

/** Whole TOTP challenges of a sidecar over shared state, and an approval that ends the stream at another one. */
export const sharedChallenges: Measurement = {
  name: 'shared-challenges',
  async measure(context) {
    const rounds = context.quick ? 2 : 4;
    const perRound = context.quick ? 200 : 400;
    const across = context.quick ? 100 : 200;
    await using stores = await Stores.start();
    // One round more, to warm up.
    const people = await seedSharedPeople(stores, (rounds + 1) * perRound + rounds * across);
    await using a = await stores.sidecar();
    await using b = await stores.sidecar();
    return [
      ...(await whole(context, a, people, rounds, perRound)),
      ...(await approved(context, stores, [a, b], people, rounds, (rounds + 1) * perRound, across)),
    ];
  },
};

async function whole(
  { bare, note }: Context,
  sidecar: Sidecar,
  people: string,
  rounds: number,
  perRound: number,
): Promise<readonly Row[]> {
  const echo = new Script(bare('echo'));
  try {
    const echoPort = Number(await echo.line());
    const run = (port: number, round: number) => {
      const range = [round * perRound, (round + 1) * perRound];
      const args = [port, IN_FLIGHT, CONNECTIONS, people, ...range].map(String);
      return runScript<Result>('bench/clients/challenges.ts', args);
    };
    const results: Pair<Result>[] = [];
    for (let round = 0; round <= rounds; round += 1) {
      const pair = { ours: await run(sidecar.grpcPort, round), bare: await run(echoPort, round) };
      note(
        `${pair.ours.perSecond.toFixed(0)}/s, p99 ${pair.ours.p99.toFixed(1)} ms, ${pair.ours.failed} told to come again; bare ${pair.bare.perSecond.toFixed(0)}/s`,
      );
      if (round > 0) results.push(pair);
    }
    return [
      row('whole TOTP challenges, shared', 'challenges/s', results, ({ perSecond }) => perSecond),
      row(`p99 of a challenge, shared, ${IN_FLIGHT} in flight`, 'ms', results, ({ p99 }) => p99),
      {
        name: 'those of them told to come again',
        value: (results.reduce((sum, { ours }) => sum + ours.failed, 0) / (results.length * perRound)) * 100,
        unit: '%',
        baseline: null,
        ratio: null,
        goal: '0 %',
        met: results.every(({ ours }) => ours.failed === 0),
      },
    ];
  } finally {
    await echo.stop();
  }
}

async function approved(
  { bare, note }: Context,
  stores: Stores,
  [a, b]: readonly [Sidecar, Sidecar],
  people: string,
  rounds: number,
  from: number,
  count: number,
): Promise<readonly Row[]> {
  const sharing = { SHARING_REDIS: String(stores.redis.port) };
  const servers = [new Script(bare('sharing'), [], sharing), new Script(bare('sharing'), [], sharing)] as const;
  try {
    const barePorts = [Number(await servers[0].line()), Number(await servers[1].line())];
    const results: Pair<Shares>[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const range = [from + round * count, from + (round + 1) * count];
      const run = (ports: readonly number[]) =>
        runScript<Shares>('bench/clients/approvals.ts', [...ports, people, ...range, 4].map(String));
      const pair = { ours: await run([a.grpcPort, b.grpcPort]), bare: await run(barePorts) };
      note(
        `approved at B, ended at A: p50 ${pair.ours.p50.toFixed(1)} p99 ${pair.ours.p99.toFixed(1)} ms; bare p99 ${pair.bare.p99.toFixed(1)} ms`,
      );
      results.push(pair);
    }
    const p99 = row('approved at B, stream at A ended, p99', 'ms', results, (result) => result.p99);
    return [
      row('approved at B, stream at A ended, p50', 'ms', results, (result) => result.p50),
      { ...p99, goal: '≤ 100 ms', met: p99.value <= 100 },
    ];
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
  }
}

function row<T>(name: string, unit: string, results: readonly Pair<T>[], of: (result: T) => number): Row {
  return {
    name,
    value: median(results.map(({ ours }) => of(ours))),
    unit,
    baseline: median(results.map(({ bare }) => of(bare))),
    ratio: median(results.map(({ ours, bare }) => of(ours) / of(bare))),
    goal: 'none',
    met: true,
  };
}
