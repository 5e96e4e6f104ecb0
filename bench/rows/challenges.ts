import type { Measurement } from '../context.ts';
import { seedPeople } from '../people.ts';
import { runScript, Script } from '../process.ts';
import { median } from '../row.ts';
import { newDirectory, removeDirectory, Sidecar } from '../sidecar.ts';

interface Result {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly failed: number;
}

const IN_FLIGHT = 64;
const CONNECTIONS = 4;

/** Whole TOTP challenges (open, answer, approval with its receipt) against a bare stream that exchanges the same messages. */
export const challenges: Measurement = {
  name: 'challenges',
  async measure({ quick, bare, note }) {
    const rounds = quick ? 3 : 5;
    const perRound = quick ? 500 : 3_000;
    const directory = newDirectory();
    try {
      // One round more, to warm up.
      const people = await seedPeople(directory, (rounds + 1) * perRound);
      await using sidecar = await Sidecar.start(directory);
      const echo = new Script(bare('echo'));
      try {
        const echoPort = Number(await echo.line());
        const run = (port: number, round: number) => {
          const range = [round * perRound, (round + 1) * perRound];
          const args = [port, IN_FLIGHT, CONNECTIONS, people, ...range].map(String);
          return runScript<Result>('bench/clients/challenges.ts', args);
        };
        const results: { readonly ours: Result; readonly bare: Result }[] = [];
        for (let round = 0; round <= rounds; round += 1) {
          const pair = { ours: await run(sidecar.grpcPort, round), bare: await run(echoPort, round) };
          if (pair.ours.failed > 0) throw new Error(`${pair.ours.failed} challenges were not approved`);
          note(
            `${pair.ours.perSecond.toFixed(0)}/s, p99 ${pair.ours.p99.toFixed(1)} ms; bare ${pair.bare.perSecond.toFixed(0)}/s`,
          );
          if (round > 0) results.push(pair);
        }
        const value = median(results.map(({ ours }) => ours.perSecond));
        const p99 = median(results.map(({ ours }) => ours.p99));
        return [
          {
            name: 'whole TOTP challenges, audit durable',
            value,
            unit: 'challenges/s',
            baseline: median(results.map((pair) => pair.bare.perSecond)),
            ratio: median(results.map((pair) => pair.ours.perSecond / pair.bare.perSecond)),
            goal: '≥ 1000/s',
            met: value >= 1_000,
          },
          {
            name: `p99 of a challenge, ${IN_FLIGHT} in flight`,
            value: p99,
            unit: 'ms',
            baseline: median(results.map((pair) => pair.bare.p99)),
            ratio: median(results.map((pair) => pair.ours.p99 / pair.bare.p99)),
            goal: '< 50 ms',
            met: p99 < 50,
          },
        ];
      } finally {
        await echo.stop();
      }
    } finally {
      removeDirectory(directory);
    }
  },
};
