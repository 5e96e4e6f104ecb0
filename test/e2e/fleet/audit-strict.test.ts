import { randomUUID } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { DATABASE, ROLES } from '../../../scripts/servers/central-database.ts';
import { methodOf } from '../../support/api-calls.ts';
import { eventually } from '../../support/eventually.ts';
import { Fleet } from '../../support/fleet.ts';
import { balance } from '../../support/fleet-ledger.ts';
import { FleetLoad } from '../../support/fleet-load.ts';
import { insist } from '../../support/insist.ts';
import { PATIENT } from '../../support/patient-settings.ts';
import { WireClient } from '../../support/wire-answers.ts';

const CREATE = methodOf('SessionService/CreateSession');

describe('two sidecars with audit.mode: strict', () => {
  let fleet: Fleet;
  let load: FleetLoad;
  let wire: WireClient;

  const count = async (table: 'sessions' | 'audit_events') => {
    const rows = await fleet.postgres.query<{ count: string }>(`SELECT count(*) FROM ${table}`, [], DATABASE);
    return Number(rows[0]?.count);
  };
  const lockFlushOut = async () => {
    await fleet.postgres.query(`ALTER ROLE ${ROLES.audit} CONNECTION LIMIT 0`);
    await fleet.postgres.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [
      ROLES.audit,
    ]);
  };
  const letFlushIn = async () => {
    await fleet.postgres.query(`ALTER ROLE ${ROLES.audit} CONNECTION LIMIT -1`);
  };

  beforeAll(async () => {
    fleet = await Fleet.start({
      sidecars: 2,
      auditRole: true,
      settings: { ...PATIENT, MFA_ENABLED: 'false', SALLYPORT_AUDIT_MODE: 'strict' },
    });
    load = new FleetLoad(fleet);
    wire = new WireClient(fleet.sidecar(0).grpcAddress, { 'x-sallyport-client': 'strict' });
  });
  afterEach(letFlushIn);
  afterAll(async () => {
    wire.close();
    await fleet[Symbol.asyncDispose]();
  });

  it('answer a grant only when PostgreSQL has its event', async () => {
    const client = fleet.client(0);
    const late: string[] = [];
    const lane = async () => {
      for (let times = 0; times < 10; times += 1) {
        const request = { subject: randomUUID(), requestId: randomUUID() };
        const { session } = await insist(() => client.unary(SessionService.method.createSession, request));
        const rows = await fleet.postgres.query(
          `SELECT 1 FROM audit_events WHERE type = 'session.created' AND session_id = $1`,
          [session?.id],
          DATABASE,
        );
        if (rows.length !== 1) late.push(session?.id ?? '');
      }
    };
    await Promise.all([lane(), lane(), lane()]);
    expect(late).toEqual([]);
  });

  it('grant nothing while only the flush is locked out, and leave nothing behind of what they refused', async () => {
    await lockFlushOut();
    await eventually(
      'a grant is refused',
      async () => (await wire.call(CREATE, { subject: 'first' })).code !== 0,
      10_000,
    );
    const before = await count('sessions');
    for (let times = 0; times < 3; times += 1) {
      const refused = await wire.call(CREATE, { subject: `refused-${times}` });
      expect(refused.code).toBe(status.UNAVAILABLE);
      expect(['AUDIT_UNAVAILABLE', 'STORE_UNAVAILABLE']).toContain(refused.reason);
      expect(refused.retryMs).toBeGreaterThan(0);
    }
    expect(await count('sessions')).toBe(before);
    await letFlushIn();
    // The flush is woken when its connection is back, however long it would have waited after so many failures.
    await eventually('grants go on', async () => (await wire.call(CREATE, { subject: 'again' })).code === 0, 5_000);
  });

  it('refuse without PostgreSQL at all, and lose and double nothing over kills of it', async () => {
    await load.during(async () => {
      for (let times = 0; times < 3; times += 1) {
        await load.more(12);
        await fleet.postgres.kill();
        await eventually(
          'it is noticed',
          async () => (await wire.call(CREATE, { subject: 'none' })).code !== 0,
          10_000,
        );
        const refused = await wire.call(CREATE, { subject: 'none' });
        expect(refused).toMatchObject({ code: status.UNAVAILABLE, reason: 'STORE_UNAVAILABLE' });
        expect(refused.retryMs).toBeGreaterThanOrEqual(1_000);
        await fleet.postgres.restart();
      }
      await load.more(12);
    });
    expect(load.wrong).toEqual([]);
    await balance(fleet, load.acknowledged, { mayBeUncertain: true });
  });
});
