import { expect, it } from 'vitest';
import { ROLES } from '../../../scripts/servers/central-database.ts';
import { eventually } from '../../support/eventually.ts';
import { Fleet } from '../../support/fleet.ts';
import { balance } from '../../support/fleet-ledger.ts';
import { FleetLoad } from '../../support/fleet-load.ts';
import { bufferOf } from '../../support/fleet-trail.ts';
import { UNHURRIED } from '../../support/patient-settings.ts';

it('sidecars whose flush alone is locked out go on granting, keep every event on their disks, and bring it in order later', async () => {
  await using fleet = await Fleet.start({ auditRole: true, settings: { ...UNHURRIED, MFA_ENABLED: 'false' } });
  const { postgres } = fleet;
  const load = new FleetLoad(fleet);
  await load.during(async () => {
    await load.more(30);
    await postgres.query(`ALTER ROLE ${ROLES.audit} NOLOGIN`);
    await postgres.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [ROLES.audit]);
    const flushing = () => postgres.query('SELECT 1 FROM pg_stat_activity WHERE usename = $1', [ROLES.audit]);
    await eventually('nobody flushes', async () => (await flushing()).length === 0);
    await load.more(300, 60_000);
    for (const [index, { adminUrl }] of fleet.sidecars.entries()) {
      const { durable, flushed } = await bufferOf(fleet, index);
      expect(durable - flushed, `events that wait at sidecar ${index}`).toBeGreaterThan(20);
      expect((await fetch(`${adminUrl}/readyz`)).status).toBe(200);
    }
    // One of them ends in the middle of it, and takes its backlog along to the next start.
    await fleet.sidecar(0).stop();
    expect(fleet.sidecar(0).stderr).toContain(
      'events stay in the local buffer; the next start on this volume flushes them',
    );
    await load.more(30);
    await postgres.query(`ALTER ROLE ${ROLES.audit} LOGIN`);
    await fleet.restart(0);
    await load.more(30);
  });
  expect(load.wrong).toEqual([]);
  const { uncertain } = await balance(fleet, load.acknowledged);
  expect(uncertain).toBe(0);
});
