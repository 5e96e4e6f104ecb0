import type { Measurement } from '../context.ts';
import { runScript } from '../process.ts';
import { median } from '../row.ts';
import { newDirectory, removeDirectory } from '../sidecar.ts';

/** The bound of the product's own group commit. */
const BATCH = 256;
/** So that full batches form while the one before is on its way to the disk. */
const IN_FLIGHT = 2 * BATCH;

/** Events that are sealed, chained and durable, against bare inserts of as many bytes in batches of the same bound. */
export const audit: Measurement = {
  name: 'audit',
  async measure({ quick, note }) {
    const events = quick ? 10_000 : 60_000;
    const results: { readonly ours: number; readonly bare: number }[] = [];
    for (let round = 0; round < (quick ? 3 : 5); round += 1) {
      const trail = await inDirectory((directory) =>
        runScript<{ perSecond: number; bytesPerEvent: number }>(
          'bench/clients/trail.ts',
          [directory, events, IN_FLIGHT].map(String),
        ),
      );
      const inserts = await inDirectory((directory) =>
        runScript<{ perSecond: number }>(
          'bench/clients/inserts.ts',
          [directory, events, BATCH, trail.bytesPerEvent].map(String),
        ),
      );
      results.push({ ours: trail.perSecond, bare: inserts.perSecond });
      note(`${trail.perSecond.toFixed(0)} events/s, bare ${inserts.perSecond.toFixed(0)} inserts/s`);
    }
    const ratio = median(results.map(({ ours, bare }) => ours / bare));
    return [
      {
        name: 'durable audit events',
        value: median(results.map(({ ours }) => ours)),
        unit: 'events/s',
        baseline: median(results.map(({ bare }) => bare)),
        ratio,
        goal: 'ratio ≥ 0.3',
        met: ratio >= 0.3,
      },
    ];
  },
};

async function inDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = newDirectory();
  try {
    return await work(directory);
  } finally {
    removeDirectory(directory);
  }
}
