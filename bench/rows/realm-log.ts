import type { Measurement } from '../context.ts';
import { runScript } from '../process.ts';
import { median } from '../row.ts';
import { Stores } from '../stores.ts';

const SIDECARS = 8;
/** How long a local disk takes to have an event. */
const DURABLE_MS = 2;

/** The log of changes of one realm, which is written one unit after the other, against eight realms with a log each. */
export const realmLog: Measurement = {
  name: 'realm-log',
  async measure({ quick, note }) {
    await using stores = await Stores.start({ redis: false });
    const run = async (realms: number) => {
      const args = [stores.url, stores.keysFile, quick ? 200 : 600, SIDECARS, realms, DURABLE_MS].map(String);
      return (await runScript<{ perSecond: number }>('bench/clients/ends.ts', args)).perSecond;
    };
    const results: { readonly one: number; readonly many: number }[] = [];
    for (let round = 0; round < (quick ? 2 : 3); round += 1) {
      const pair = { one: await run(1), many: await run(SIDECARS) };
      results.push(pair);
      note(`${pair.one.toFixed(0)} ends/s in one realm, ${pair.many.toFixed(0)}/s in ${SIDECARS}`);
    }
    return [
      {
        name: 'ends of sessions in one realm (bare: in 8 realms)',
        value: median(results.map(({ one }) => one)),
        unit: 'ends/s',
        baseline: median(results.map(({ many }) => many)),
        ratio: median(results.map(({ one, many }) => one / many)),
        goal: 'none',
        met: true,
      },
    ];
  },
};
