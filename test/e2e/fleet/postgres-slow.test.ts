import { setTimeout as pause } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { DATABASE } from '../../../scripts/servers/central-database.ts';
import { eventually } from '../../support/eventually.ts';
import { Fleet } from '../../support/fleet.ts';
import { signIn } from '../../support/people.ts';
import { validate } from '../../support/sessions-watched.ts';
import { WireClient } from '../../support/wire-answers.ts';

/** Well above what the way of ValidateSession waits for one read (80 ms), well below what other calls wait (2 s). */
const SLOW_MS = 700;

describe('a sidecar whose PostgreSQL is slow for a moment', () => {
  let fleet: Fleet;
  beforeAll(async () => {
    fleet = await Fleet.start({ sidecars: 2, redis: 'none' });
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  /** Resolves once nobody can read the table any more; `over` once everybody can again. */
  const withhold = async (table: string) => {
    const over = fleet.postgres.query(
      `BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(${SLOW_MS / 1_000}); COMMIT`,
      [],
      DATABASE,
    );
    const held = `SELECT 1 FROM pg_locks WHERE relation = '${table}'::regclass AND mode = 'AccessExclusiveLock' AND granted`;
    await eventually(`${table} is withheld`, async () => {
      return (await fleet.postgres.query(held, [], DATABASE)).length > 0;
    });
    return { over };
  };

  it('waits for the factors of a person, rather than telling the caller to try again', async () => {
    const { over } = await withhold('factors');
    const answer = await fleet.client(0).unary(FactorService.method.listFactors, { subject: 'ada' });
    expect(answer.factors).toEqual([]);
    await over;
  });

  it('does not let a validation wait for a session that it does not know', async () => {
    const { token } = await signIn(fleet.client(0), 'ada');
    const wire = new WireClient(fleet.sidecar(1).grpcAddress, { 'x-sallyport-client': 'test' });
    const { over } = await withhold('sessions');
    const refused = await validate(wire, token);
    // While the table is still withheld: it did not wait for that to end.
    const early = await Promise.race([over.then(() => false), pause(0, true)]);
    expect([refused.code, refused.reason, early]).toEqual([status.UNAVAILABLE, 'STORE_UNAVAILABLE', true]);
    await over;
    await eventually('it is found', async () => (await validate(wire, token)).code === status.OK, 10_000);
    wire.close();
  });
});
