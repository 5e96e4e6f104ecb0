import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DoomedSessions } from '../../support/doomed-sessions.ts';
import { Fleet } from '../../support/fleet.ts';
import { goThrough, whenWell } from '../../support/redis-trouble.ts';
import { TRAFFIC_SETTINGS } from '../../support/traffic.ts';

describe('three sidecars keep all promises while Sentinels', () => {
  let fleet: Fleet;
  beforeAll(async () => {
    fleet = await Fleet.start({ redis: 'sentinel', settings: TRAFFIC_SETTINGS });
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  it('put a replica in the place of the master that has missed everything for a while', async () => {
    const { sentinel } = fleet.redis;
    if (!sentinel) throw new Error('there are no Sentinels');
    await goThrough(fleet, {
      name: 'failover',
      begin: async (traffic) => {
        const [master, replica] = [await sentinel.master(), await sentinel.replica()];
        const doomed = await DoomedSessions.make(fleet, `failover-${traffic.record.calls.length}`);
        // What is on its way arrives, and nothing after it.
        await pause(300);
        await replica.freeze();
        await doomed.end();
        await pause(1_500);
        await master.kill();
        await replica.thaw();
        expect(await doomed.wrong(), 'without a master').toEqual([]);
        await sentinel.failedOverFrom(master);
        await whenWell(fleet, 15_000);
        expect(Number(await replica.cli('DBSIZE')), 'what the replica knows from before').toBeGreaterThan(20);
        expect(await doomed.wrong(), 'with the new master').toEqual([]);
        await master.restart();
      },
      end: async () => {},
      isShort: true,
    });
  });
});
