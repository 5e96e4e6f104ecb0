import { randomInt } from 'node:crypto';
import { cpSync, rmSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { DATABASE } from '../../../scripts/servers/central-database.ts';
import { Fleet } from '../../support/fleet.ts';
import { balance } from '../../support/fleet-ledger.ts';
import { FleetLoad } from '../../support/fleet-load.ts';
import { centralEvents, verifyTrail, whenFlushed } from '../../support/fleet-trail.ts';
import { PATIENT } from '../../support/patient-settings.ts';

/** How often a sidecar is killed in all. */
const KILLS = 51;
const SETTINGS = { ...PATIENT, MFA_ENABLED: 'false', SALLYPORT_AUDIT_FLUSH_INTERVAL: '10ms' };

describe('sidecars that are killed with SIGKILL', () => {
  it(`lose no acknowledged grant's event and write none twice, over ${KILLS} kills in the middle of units and flushes`, async () => {
    await using fleet = await Fleet.start({ auditRole: true, settings: SETTINGS });
    const load = new FleetLoad(fleet, { lanes: 9, pauseMs: 1 });
    await load.during(async () => {
      await load.more(20);
      for (let kills = 0; kills < KILLS; kills += fleet.sidecars.length) {
        await Promise.all(
          fleet.sidecars.map(async ({ child, exited }, index) => {
            await pause(randomInt(250));
            child.kill('SIGKILL');
            await exited;
            await fleet.restart(index);
          }),
        );
        await load.more(5);
      }
      await load.more(60);
    });
    expect(load.wrong).toEqual([]);
    expect(load.granted).toBeGreaterThan(KILLS);
    const { events } = await balance(fleet, load.acknowledged, { mayBeUncertain: true });
    expect(events.filter(({ type }) => type === 'sidecar.started')).toHaveLength(KILLS + fleet.sidecars.length);
  });

  it('are noticed at the start when their volume is an older copy: an alarm, and a chain that links to the central one', async () => {
    await using fleet = await Fleet.start({ sidecars: 2, settings: SETTINGS });
    const load = new FleetLoad(fleet);
    await load.during(() => load.more(30));
    await whenFlushed(fleet);
    const { dataDir } = fleet.sidecar(0);
    const copy = `${dataDir}-copy`;
    // As somebody would who copies the volume of a pod that is gone.
    await fleet.kill(0);
    cpSync(dataDir, copy, { recursive: true });
    await fleet.restart(0);
    await load.during(() => load.more(60));
    await whenFlushed(fleet);
    await fleet.sidecar(0).stop();
    const before = await chains(fleet);
    rmSync(dataDir, { recursive: true });
    cpSync(copy, dataDir, { recursive: true });
    await fleet.restart(0);
    await load.during(() => load.more(60));
    await whenFlushed(fleet);
    expect(fleet.sidecar(0).stderr).toMatch(
      /"level":"error".*the local audit file is not the one that central storage knows/,
    );
    const after = await chains(fleet);
    const added = after.filter(({ chain_id }) => !before.some((known) => known.chain_id === chain_id));
    expect(added).toHaveLength(1);
    expect(before.map(({ chain_id }) => chain_id)).toContain(added[0]?.parent_chain_id);
    const events = await centralEvents(fleet.postgres);
    const alarms = events.filter(({ type }) => type === 'audit.chain_damaged');
    expect(alarms.map(({ chainId }) => chainId)).toEqual([added[0]?.chain_id]);
    expect(load.wrong).toEqual([]);
    await balance(fleet, load.acknowledged, { mayBeUncertain: true });
    expect(await verifyTrail(fleet)).toMatchObject({ intact: true });
  });
});

function chains(fleet: Fleet) {
  return fleet.postgres.query<{ chain_id: string; parent_chain_id: string }>(
    'SELECT chain_id, parent_chain_id FROM audit_chains',
    [],
    DATABASE,
  );
}
