import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Fault } from '#src/domain/faults.ts';
import { PostgresServer } from '../../../scripts/servers/postgres.ts';
import { Gate } from '../../support/gate.ts';
import { MemoryTrail } from '../../support/memory-trail.ts';
import { newDatabase, openExecutor, type SidecarOptions } from '../../support/postgres-stores.ts';
import { eventOf } from '../../support/store-samples.ts';
import { timed, until } from '../../support/until.ts';

let server: PostgresServer;
let database: Awaited<ReturnType<typeof newDatabase>>;
let trail: MemoryTrail;
beforeAll(async () => {
  server = await PostgresServer.start();
  database = await newDatabase(server);
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(async () => {
  trail = new MemoryTrail();
  await server.query('DELETE FROM marks', [], database.name);
});

const start = (options: Partial<SidecarOptions> = {}) => openExecutor({ url: database.url, trail, ...options });
const put = 'INSERT INTO marks (name, value) VALUES ($1, $2)';
const marks = async () =>
  (await server.query<{ name: string }>('SELECT name FROM marks ORDER BY name', [], database.name)).map(
    (row) => row.name,
  );
const created = () => eventOf('session.created');
type Sidecar = ReturnType<typeof start>;
/** Connections that are open already: making one takes longer than some of the time-outs here. */
const connect = async ({ executor }: Sidecar, count = 1) => {
  await Promise.all(Array.from({ length: count }, () => executor.readWithin(20_000, 'SELECT 1')));
};
/** Resolves when the person's lock is held, until the gate opens; `done` when it is given back. */
async function holdPerson({ executor }: Sidecar, gate: Gate): Promise<{ readonly done: Promise<void> }> {
  const { promise: held, resolve } = Promise.withResolvers<void>();
  const done = executor.unit(async (tx) => {
    await tx.alone('main', 'ann');
    // The lock is asked for together with the first statement.
    await tx.all('SELECT 1');
    resolve();
    await gate.opened;
  });
  await Promise.race([held, done]);
  return { done };
}
const waitsForLock = async () =>
  (await server.query(`SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`)).length > 0;

describe('an outage', () => {
  it('of a frozen server costs each call its time-out, then nothing, and ends by itself', async () => {
    await using sidecar = start({ timeoutMs: 500, readTimeoutMs: 80, connectTimeoutMs: 300, probeMs: 50 });
    await connect(sidecar);
    await server.freeze();
    try {
      const reads = await Promise.all([1, 2, 3, 4].map(() => timed(() => sidecar.executor.read('SELECT 1'))));
      for (const { ms, error } of reads) {
        expect(error).toMatchObject({ kind: 'unavailable', details: { metadata: { dependency: 'postgres' } } });
        expect(ms).toBeLessThan(250);
      }
      const { error } = await timed(() => sidecar.executor.unit((tx) => tx.run(put, 'a', '1')));
      expect(error).toMatchObject({ kind: 'unavailable' });
      expect(sidecar.pool.breaker.up).toBe(false);
      const atOnce: number[] = [];
      for (let tries = 0; tries < 5; tries += 1) {
        const refused = await timed(() => sidecar.executor.read('SELECT 1'));
        expect(refused.error).toMatchObject({ kind: 'unavailable', details: { retryAfterMs: expect.any(Number) } });
        atOnce.push(refused.ms);
      }
      expect(Math.min(...atOnce)).toBeLessThan(20);
    } finally {
      await server.thaw();
    }
    await until(() => sidecar.pool.breaker.up);
    expect(await sidecar.executor.readWithin(20_000, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect(await marks()).toEqual([]);
  });

  it('is not a unit that waits for one of another sidecar while a read is slow, however many reads wait behind them', async () => {
    await using other = start();
    // Whoever waits for a lock keeps the connection all the while here.
    await using sidecar = start({ readTimeoutMs: 80, lockWaitMs: 10_000 });
    using gate = new Gate();
    await connect(sidecar, 2);
    const holding = await holdPerson(other, gate);
    const waiting = sidecar.executor.unit(async (tx) => {
      await tx.alone('main', 'ann');
      return 'done';
    });
    waiting.catch(() => {});
    await until(waitsForLock);
    const slow = timed(() => sidecar.executor.read('SELECT pg_sleep(20)'));
    const queued = await Promise.all([1, 2, 3, 4].map(() => timed(() => sidecar.executor.read('SELECT 1'))));
    for (const { error } of [...queued, await slow]) expect(error).toMatchObject({ kind: 'unavailable' });
    expect(sidecar.pool.breaker.up).toBe(true);
    gate.open();
    await holding.done;
    expect(await waiting).toBe('done');
  });

  it('of a killed server is known at once, and ends by itself', async () => {
    await using sidecar = start({ probeMs: 50 });
    await sidecar.executor.unit((tx) => tx.run(put, 'before', '1'));
    await server.kill();
    for (let tries = 0; tries < 3; tries += 1) {
      const { ms, error } = await timed(() => sidecar.executor.unit((tx) => tx.run(put, 'during', '1')));
      expect(error).toMatchObject({ kind: 'unavailable' });
      expect(ms).toBeLessThan(500);
    }
    expect(sidecar.pool.breaker.up).toBe(false);
    await server.restart();
    await until(() => sidecar.pool.breaker.up);
    await sidecar.executor.unit((tx) => tx.run(put, 'after', '1'));
    expect(await marks()).toEqual(['after', 'before']);
  });

  it('between two calls is not noticed', async () => {
    await using sidecar = start();
    await sidecar.executor.unit((tx) => tx.run(put, 'a', '1'));
    await server.restart();
    await sidecar.executor.unit((tx) => tx.run(put, 'b', '1'));
    expect(await sidecar.executor.read('SELECT COUNT(*) AS n FROM marks')).toEqual([{ n: 2 }]);
    expect(sidecar.pool.breaker.up).toBe(true);
  });

  it('is what a server is that takes no writes', async () => {
    await using sidecar = start({ probeMs: 50 });
    const reader = (on: boolean) =>
      server.query(`ALTER DATABASE ${database.name} SET default_transaction_read_only = ${on ? 'on' : 'off'}`);
    await reader(true);
    try {
      for (let tries = 0; tries < 3; tries += 1) {
        await expect(sidecar.executor.read('SELECT 1')).rejects.toMatchObject({ kind: 'unavailable' });
      }
      expect(sidecar.pool.breaker.up).toBe(false);
    } finally {
      await reader(false);
    }
    await until(() => sidecar.pool.breaker.up);
  });

  it('is not what a lock is that somebody else holds; reads go on meanwhile', async () => {
    await using holder = start();
    await using sidecar = start({ timeoutMs: 700, readTimeoutMs: 300 });
    using gate = new Gate();
    await connect(sidecar, 2);
    const holding = await holdPerson(holder, gate);
    const pauses: unknown[] = [];
    for (let tries = 0; tries < 3; tries += 1) {
      const waiting = timed(() => sidecar.executor.unit((tx) => tx.alone('main', 'ann')));
      const reads: number[] = [];
      for (let made = 0; made < 10; made += 1) {
        const { ms, error } = await timed(() => sidecar.executor.readWithin(20_000, 'SELECT 1'));
        expect(error).toBeUndefined();
        reads.push(ms);
      }
      expect(reads.toSorted((x, y) => x - y)[5]).toBeLessThan(300);
      const { ms, error } = await waiting;
      expect(error).toMatchObject({ kind: 'unavailable' });
      expect(ms).toBeLessThan(1_000);
      pauses.push(error instanceof Fault && error.details.retryAfterMs);
    }
    // Of one that ended while the whole machine stood still, nobody can say what it waited for.
    expect(pauses.filter((ms) => ms === 250).length, JSON.stringify(pauses)).toBeGreaterThanOrEqual(2);
    expect(sidecar.pool.breaker.up).toBe(true);
    gate.open();
    await holding.done;
    await sidecar.executor.unit((tx) => tx.alone('main', 'ann'));
  });
});

describe('the pool', () => {
  it('holds no more connections than it may, and refuses what is too much', async () => {
    await using sidecar = start({ connections: 2, maxWaiting: 5, url: `${database.url}?application_name=bounded` });
    const slow = Array.from({ length: 12 }, () =>
      sidecar.executor.read('SELECT pg_sleep(0.1)').then(
        () => 'read',
        () => 'refused',
      ),
    );
    await new Promise((resolve) => setTimeout(resolve, 80));
    const [row] = await server.query<{ n: number }>(
      `SELECT COUNT(*)::int AS n FROM pg_stat_activity WHERE application_name = 'bounded'`,
    );
    expect(row?.n).toBeLessThanOrEqual(2);
    const outcomes = await Promise.all(slow);
    expect(outcomes.filter((outcome) => outcome === 'read')).toHaveLength(5);
    expect(sidecar.pool.breaker.up).toBe(true);
  });

  it('takes the connection from a unit whose time is up, so that its locks are free', async () => {
    await using sidecar = start({ timeoutMs: 2_000, connections: 1 });
    using gate = new Gate();
    const stuck = sidecar.executor.unit(async (tx) => {
      await tx.alone('main', 'ann');
      await tx.run(put, 'stuck', '1');
      tx.record(created());
      await gate.opened;
    });
    await expect(stuck).rejects.toMatchObject({ kind: 'unavailable' });
    await sidecar.executor.unit(async (tx) => {
      await tx.alone('main', 'ann');
      await tx.run(put, 'next', '1');
    });
    gate.open();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await marks()).toEqual(['next']);
    expect(trail.taken.map(({ state }) => state)).not.toContain('confirmed');
  });

  it('does not take it for an outage when reads wait for a unit that waits for us', async () => {
    await using sidecar = start({ connections: 1, readTimeoutMs: 50 });
    using gate = new Gate();
    await connect(sidecar);
    trail.hold = gate.opened;
    const unit = sidecar.executor.unit(async (tx) => {
      await tx.run(put, 'a', '1');
      tx.record(created());
    });
    unit.catch(() => {});
    await until(() => trail.asked > 0);
    for (let tries = 0; tries < 4; tries += 1) {
      await expect(sidecar.executor.read('SELECT 1')).rejects.toMatchObject({ kind: 'unavailable' });
    }
    expect(sidecar.pool.breaker.up).toBe(true);
    gate.open();
    await unit;
    expect(await marks()).toEqual(['a']);
  });

  it('refuses everything once it is closed', async () => {
    const sidecar = start();
    await sidecar.executor.read('SELECT 1');
    await sidecar.close();
    await expect(sidecar.executor.read('SELECT 1')).rejects.toMatchObject({ kind: 'unavailable' });
  });
});
