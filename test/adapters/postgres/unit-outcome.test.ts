import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UnitOutcomes } from '#src/adapters/postgres/unit-outcome.ts';
import { systemClock } from '#src/adapters/system.ts';
import { PostgresServer } from '../../../scripts/servers/postgres.ts';
import { SILENT } from '../../support/local-stores.ts';
import { MemoryTrail } from '../../support/memory-trail.ts';
import { newDatabase, openExecutor } from '../../support/postgres-stores.ts';

let server: PostgresServer;
let url: string;
beforeAll(async () => {
  server = await PostgresServer.start();
  ({ url } = await newDatabase(server));
});
afterAll(() => server[Symbol.asyncDispose]());

const start = () => openExecutor({ url, trail: new MemoryTrail() });
const terms = { lane: 'unit', timeoutMs: 5_000, patienceMs: 5_000 } as const;

/** A transaction that was committed, and the server that it was committed on. */
function committed(pool: ReturnType<typeof start>['pool']) {
  return pool.run(terms, async (connection) => {
    const { rows } = await connection.query(
      `SELECT pg_current_xact_id()::text AS id, ${connection.timeline} AS timeline`,
    );
    const { serverRun } = connection;
    return { transaction: String(rows[0]?.['id']), timeline: String(rows[0]?.['timeline']), serverRun };
  });
}

const outcomesOf = (pool: ConstructorParameters<typeof UnitOutcomes>[0]['pool']) =>
  new UnitOutcomes({ pool, clock: systemClock, log: SILENT, maxOpen: 1, keepMs: 1_000 });
/** For what is not known until then. */
const soon = () => systemClock.monotonic() + 300;
/** For what is known at once. */
const inTime = () => systemClock.monotonic() + 20_000;

describe('how a commit ended', () => {
  it('is told by the server that it was sent to, on whatever connection', async () => {
    await using sidecar = start();
    const commit = await committed(sidecar.pool);
    expect(commit.timeline).toMatch(/^[0-9A-F]{8}$/);
    expect(await outcomesOf(sidecar.pool).resolve(commit, inTime())).toBe('committed');
  });

  it('stays open when a pooler leads the same connection to another server, where the number is somebody else’s', async () => {
    await using sidecar = start();
    const commit = await committed(sidecar.pool);
    const before = { ...commit, timeline: '000000FF' };
    expect(await outcomesOf(sidecar.pool).resolve(before, soon())).toBe('open');
    // The connection itself was opened on that earlier server.
    const pool: Parameters<typeof outcomesOf>[0] = {
      breaker: sidecar.pool.breaker,
      attempt: (asked, work) =>
        sidecar.pool.attempt(asked, (connection) => {
          const known = { timeline: connection.timeline };
          const query: typeof connection.query = async (sql, params) => {
            const reply = await connection.query(sql, params);
            return { ...reply, rows: reply.rows.map((row) => ({ ...row, timeline: '000000AA' })) };
          };
          return work(Object.assign(Object.create(connection), { query }, known));
        }),
    };
    expect(await outcomesOf(pool).resolve(commit, soon())).toBe('open');
  });

  it('is not taken from a server that has crashed since and gave the same number to another transaction', async () => {
    await using sidecar = start();
    const lost = await sidecar.pool.run(terms, async (connection) => {
      await connection.script('BEGIN');
      const { rows } = await connection.query('SELECT pg_current_xact_id()::text AS id');
      const { serverRun } = connection;
      // Nothing of it was written when the machine lost its power.
      await server.kill();
      return { transaction: String(rows[0]?.['id']), serverRun };
    });
    await server.restart();
    const others = [await committed(sidecar.pool), await committed(sidecar.pool)];
    const namesake = others.find(({ transaction }) => transaction === lost.transaction);
    if (!namesake) throw new Error('the server gave the number to nobody');
    const outcomes = outcomesOf(sidecar.pool);
    expect(await outcomes.resolve({ ...namesake, ...lost }, inTime())).toBe('unknown');
    expect(await outcomes.resolve(namesake, inTime())).toBe('committed');
    await new Promise<void>((resolve) =>
      outcomes.follow({ ...namesake, ...lost }, { confirm() {}, revoke: async () => resolve() }),
    );
    await outcomes.close();
  });

  it('is not waited for at the end where the trail cannot take the word of it', async () => {
    await using sidecar = start();
    const outcomes = outcomesOf(sidecar.pool);
    outcomes.revoke({ confirm() {}, revoke: () => new Promise(() => {}) });
    const begun = systemClock.monotonic();
    await outcomes.close();
    expect(systemClock.monotonic() - begun).toBeLessThan(10_000);
  });
});
