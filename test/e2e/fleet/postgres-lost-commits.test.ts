import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROLES } from '../../../scripts/servers/central-database.ts';
import { eventually } from '../../support/eventually.ts';
import { Fleet } from '../../support/fleet.ts';
import { balance } from '../../support/fleet-ledger.ts';
import { FleetLoad } from '../../support/fleet-load.ts';
import { PATIENT } from '../../support/patient-settings.ts';
import { type LostCommits, losingCommits } from '../../support/tcp-proxy-commit.ts';

/** Replies to COMMIT that are lost on the way of each kind: of units of the state, and of flushed batches. */
const LOST = 100;

describe('three sidecars whose PostgreSQL commits while the reply is lost', () => {
  let fleet: Fleet;
  let load: FleetLoad;
  let paths: readonly LostCommits[];
  const lostBy = (role: string) => paths.reduce((sum, path) => sum + path.lostBy(role), 0);

  beforeAll(async () => {
    fleet = await Fleet.start({
      proxies: true,
      auditRole: true,
      settings: {
        MFA_ENABLED: 'false',
        SALLYPORT_AUDIT_FLUSH_INTERVAL: '10ms',
        ...PATIENT,
      },
    });
    paths = fleet.sidecars.map((_, index) => losingCommits(fleet.paths(index).postgres));
    // Connections from before are not watched.
    for (const index of fleet.sidecars.keys()) fleet.paths(index).postgres.cutAll();
    load = new FleetLoad(fleet, { lanes: 9, pauseMs: 1 });
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  it(`has, over ${LOST} lost units and ${LOST} lost batches, each effect once and each event once`, async () => {
    await load.during(async () => {
      await load.more(30);
      await eventually(
        `${LOST} of each`,
        async () => {
          // One after the other, so that it is found out how each ended and none counts as an outage.
          for (const path of paths) path.lose(1);
          await pause(25);
          return lostBy(ROLES.state) >= LOST && lostBy(ROLES.audit) >= LOST;
        },
        120_000,
      );
      for (const path of paths) path.lose(0);
      await load.more(60);
    });
    expect(load.wrong).toEqual([]);
    const { uncertain } = await balance(fleet, load.acknowledged);
    // The server was asked how each ended, and callers were told of success; only what ran out of time may be in doubt.
    expect(uncertain).toBeLessThan(LOST / 4);
    for (const sidecar of fleet.sidecars) {
      expect(sidecar.stderr).not.toContain('nobody knows whether a unit took effect');
    }
  });

  it('and cut in the middle of everything, at any byte: no effect without its event, and none twice', async () => {
    await load.during(async () => {
      for (let times = 0; times < 60; times += 1) {
        fleet.paths(times % fleet.sidecars.length).postgres.cutAll();
        await pause(40);
      }
      await load.more(60);
    });
    expect(load.wrong).toEqual([]);
    await balance(fleet, load.acknowledged);
  });
});
