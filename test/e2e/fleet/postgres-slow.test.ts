import { setTimeout as pause } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { DATABASE } from '../../../scripts/servers/central-database.ts';
import { eventually } from '../../support/eventually.ts';
import { Fleet } from '../../support/fleet.ts';
import { signIn } from '../../support/people.ts';
import { validate } from '../../support/sessions-watched.ts';
import { WireClient } from '../../support/wire-answers.ts';

/** Well above what the way of ValidateSession waits for one read, which is 80 ms. */
const SLOW_MS = 500;

describe('a sidecar whose PostgreSQL is slow for a moment', () => {
  let fleet: Fleet;
  beforeAll(async () => {
    // Longer than a machine may stand still meanwhile.
    fleet = await Fleet.start({ sidecars: 2, redis: 'none', settings: { SALLYPORT_POSTGRES_TIMEOUT: '20s' } });
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  /** Nobody can read the table until that is disposed of. */
  const withhold = async (table: string): Promise<AsyncDisposable> => {
    const holder = new Client(fleet.postgres.url(DATABASE));
    await holder.connect();
    await holder.query(`BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
    return { [Symbol.asyncDispose]: () => holder.end() };
  };

  it('waits for the factors of a person, rather than telling the caller to try again', async () => {
    const asking = async () => {
      await using _held = await withhold('factors');
      const asked = fleet.client(0).unary(FactorService.method.listFactors, { subject: 'ada' });
      await Promise.race([asked, pause(SLOW_MS)]);
      return { asked };
    };
    expect((await (await asking()).asked).factors).toEqual([]);
  });

  it('does not let a validation wait for a session that it does not know', async () => {
    const { token } = await signIn(fleet.client(0), 'ada');
    const wire = new WireClient(fleet.sidecar(1).grpcAddress, { 'x-sallyport-client': 'test' });
    const refusal = async () => {
      await using _held = await withhold('sessions');
      return await validate(wire, token);
    };
    expect(await refusal()).toMatchObject({ code: status.UNAVAILABLE, reason: 'STORE_UNAVAILABLE' });
    await eventually('it is found', async () => (await validate(wire, token)).code === status.OK, 10_000);
    wire.close();
  });
});
