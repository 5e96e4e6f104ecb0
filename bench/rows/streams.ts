import type { Measurement } from '../context.ts';
import { seedPeople } from '../people.ts';
import { residentDuring, residentMiB, Script } from '../process.ts';
import { newDirectory, removeDirectory, Sidecar } from '../sidecar.ts';

interface Result {
  readonly refused: number;
  readonly expired: number;
  readonly lateMax: number;
  readonly lateP99: number;
}

/** Many people who are asked for a code and leave it at that. */
export const streams: Measurement = {
  name: 'streams',
  async measure({ quick, note }) {
    const count = quick ? 1_000 : 10_000;
    const seconds = quick ? 15 : 60;
    const directory = newDirectory();
    try {
      const people = await seedPeople(directory, count);
      await using sidecar = await Sidecar.start(directory, { MFA_TIMEOUT_SECONDS: String(seconds) });
      const before = residentMiB(sidecar.pid);
      const client = new Script('bench/clients/streams.ts', [String(sidecar.grpcPort), people]);
      try {
        const { peak } = await residentDuring(sidecar.pid, async () => {
          await client.line();
          note(`${count} streams are open, ${residentMiB(sidecar.pid).toFixed(0)} MiB; waiting for their ends`);
          // Two heartbeats of all of them.
          await new Promise((resolve) => setTimeout(resolve, (seconds * 1000) / 2));
        });
        const result = JSON.parse(await client.line()) as Result;
        if (result.refused > 0 || result.expired !== count)
          throw new Error(`${result.refused} streams were refused, ${result.expired} of ${count} expired`);
        note(`ends were up to ${result.lateMax} ms late, p99 ${result.lateP99} ms`);
        return [
          {
            name: `resident with ${count} open VerifyChallenge streams`,
            value: peak,
            unit: 'MiB',
            baseline: before,
            ratio: peak / before,
            goal: '≤ 300 MiB',
            met: peak <= 300,
          },
          {
            name: `latest of ${count} timeouts`,
            value: result.lateMax,
            unit: 'ms late',
            baseline: null,
            ratio: null,
            goal: '≤ 1000 ms',
            met: result.lateMax <= 1_000,
          },
        ];
      } finally {
        await client.stop();
      }
    } finally {
      removeDirectory(directory);
    }
  },
};
