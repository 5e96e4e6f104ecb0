import { DATABASE, ROLES } from '../../scripts/servers/central-database.ts';
import type { Measurement } from '../context.ts';
import { runScript } from '../process.ts';
import { median } from '../row.ts';
import { newDirectory, removeDirectory } from '../sidecar.ts';
import { Stores } from '../stores.ts';

/** The bound of the product's own batches. */
const BATCH = 1_000;

/** Events from a full local buffer to PostgreSQL, checked, indexed and noted, against bare inserts of as many bytes. */
export const flush: Measurement = {
  name: 'flush',
  async measure({ quick, note }) {
    await using stores = await Stores.start({ redis: false });
    const bareUrl = stores.postgres.url(DATABASE, ROLES.owner);
    const events = quick ? 10_000 : 40_000;
    const results: { readonly ours: number; readonly bare: number }[] = [];
    for (let round = 0; round < (quick ? 2 : 5); round += 1) {
      const directory = newDirectory();
      try {
        const args = [directory, stores.url, events].map(String);
        const ours = await runScript<{ perSecond: number; bytesPerEvent: number }>('bench/clients/flush.ts', args);
        const bareArgs = [bareUrl, events, BATCH, ours.bytesPerEvent].map(String);
        const bare = await runScript<{ perSecond: number }>('bench/clients/multi-row-inserts.ts', bareArgs);
        results.push({ ours: ours.perSecond, bare: bare.perSecond });
        note(
          `${ours.perSecond.toFixed(0)} events/s of ${ours.bytesPerEvent.toFixed(0)} bytes, bare ${bare.perSecond.toFixed(0)}/s`,
        );
      } finally {
        removeDirectory(directory);
      }
    }
    const value = median(results.map(({ ours }) => ours));
    return [
      {
        name: 'flush to PostgreSQL',
        value,
        unit: 'events/s',
        baseline: median(results.map(({ bare }) => bare)),
        ratio: median(results.map(({ ours, bare }) => ours / bare)),
        goal: '≥ 20000/s',
        met: value >= 20_000,
      },
    ];
  },
};
