import type { Measurement } from '../context.ts';
import { residentMiB, Script } from '../process.ts';
import { median } from '../row.ts';
import { untilServing } from '../serving.ts';
import { freePorts, newDirectory, removeDirectory, Sidecar } from '../sidecar.ts';

const IDLE_MS = 3_000;

interface Start {
  readonly ms: number;
  readonly mib: number;
}

/** From nothing to SERVING, and what that holds in memory while nobody calls, against a bare grpc-js server. */
export const start: Measurement = {
  name: 'start',
  async measure({ quick, bare, note }) {
    const first: Start[] = [];
    const again: Start[] = [];
    const bares: Start[] = [];
    for (let round = 0; round < (quick ? 3 : 9); round += 1) {
      const directory = newDirectory();
      try {
        const starts = [await startOurs(directory), await startOurs(directory)] as const;
        first.push(starts[0]);
        again.push(starts[1]);
        const started = await startBare(bare('started'));
        bares.push(started);
        note(
          `first ${starts[0].ms.toFixed(0)} ms, again ${starts[1].ms.toFixed(0)} ms, ${starts[1].mib.toFixed(0)} MiB; ` +
            `bare ${started.ms.toFixed(0)} ms, ${started.mib.toFixed(0)} MiB`,
        );
      } finally {
        removeDirectory(directory);
      }
    }
    const baseMs = median(bares.map(({ ms }) => ms));
    const baseMiB = median(bares.map(({ mib }) => mib));
    const time = (name: string, starts: readonly Start[]) => {
      const value = median(starts.map(({ ms }) => ms));
      const ratio = value / baseMs;
      return { name, value, unit: 'ms', baseline: baseMs, ratio, goal: '≤ 300 ms', met: value <= 300 };
    };
    const idle = median([...first, ...again].map(({ mib }) => mib));
    return [
      time('start to SERVING, empty directory', first),
      time('start to SERVING, again', again),
      {
        name: 'resident idle',
        value: idle,
        unit: 'MiB',
        baseline: baseMiB,
        ratio: idle / baseMiB,
        goal: '≤ 96 MiB',
        met: idle <= 96,
      },
    ];
  },
};

async function startOurs(directory: string): Promise<Start> {
  await using sidecar = await Sidecar.start(directory);
  return { ms: sidecar.startMs, mib: await idleMiB(sidecar.pid) };
}

async function startBare(server: string): Promise<Start> {
  const [port = 0] = await freePorts(1);
  const startedAt = performance.now();
  const script = new Script(server, [String(port)]);
  try {
    await untilServing(port);
    return { ms: performance.now() - startedAt, mib: await idleMiB(script.pid) };
  } finally {
    await script.stop();
  }
}

async function idleMiB(pid: number): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  return residentMiB(pid);
}
