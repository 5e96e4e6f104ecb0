import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { type Tx, UnitConflict } from '#src/adapters/sql/executor.ts';
import { PostgresServer } from '../../../scripts/servers/postgres.ts';
import { Gate } from '../../support/gate.ts';
import { MemoryTrail } from '../../support/memory-trail.ts';
import { newDatabase, openExecutor, type SidecarOptions } from '../../support/postgres-stores.ts';
import { eventOf } from '../../support/store-samples.ts';
import { TcpProxy } from '../../support/tcp-proxy.ts';
import { losingCommits } from '../../support/tcp-proxy-commit.ts';
import { until } from '../../support/until.ts';

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
const hasNamedItself = async () =>
  (
    await server.query(
      `SELECT 1 FROM pg_stat_activity
       WHERE datname = $1 AND state = 'idle in transaction' AND query LIKE 'SELECT pg_current_xact_id()%'`,
      [database.name],
    )
  ).length === 1;

describe('a unit', () => {
  it('takes effect as a whole, with its events first', async () => {
    await using sidecar = start();
    using gate = new Gate();
    trail.hold = gate.opened;
    const unit = sidecar.executor.unit(async (tx) => {
      await tx.run(put, 'a', '1');
      await tx.run(put, 'b', '2');
      tx.record(created());
      return 'done';
    });
    unit.catch(() => {});
    await until(() => trail.asked > 0);
    expect(await marks()).toEqual([]);
    gate.open();
    expect(await unit).toBe('done');
    expect(await marks()).toEqual(['a', 'b']);
    expect(trail.taken.map(({ state }) => state)).toEqual(['confirmed']);
  });

  it('begins in one round trip with its first read, and before its first write', async () => {
    await using proxy = await TcpProxy.start(server.port);
    await using sidecar = start({ url: proxy.inFrontOf(database.url) });
    await sidecar.executor.read('SELECT 1');
    const each = 100;
    proxy.delay(each / 2);
    const timed = async (work: (tx: Tx) => Promise<unknown>) => {
      const begun = performance.now();
      await sidecar.executor.unit(async (tx) => {
        await tx.alone('default', 'anna');
        await work(tx);
      });
      return (performance.now() - begun) / each;
    };
    const reading = async () => await timed(async (tx) => tx.all('SELECT name FROM marks'));
    // COMMIT is the last one. Anything may hold up one of them.
    expect(Math.min(await reading(), await reading(), await reading(), await reading())).toBeLessThan(2.9);
    expect(await timed(async (tx) => tx.run(put, 'a', '1'))).toBeGreaterThan(2.9);
    expect(await marks()).toEqual(['a']);
  });

  it('does not read past a lock that was not to be had', async () => {
    await using holder = start();
    await using waiter = start({ timeoutMs: 400 });
    using gate = new Gate();
    const { promise: held, resolve: hold } = Promise.withResolvers<void>();
    const holding = holder.executor.unit(async (tx) => {
      await tx.alone('default', 'anna');
      await tx.run(put, 'a', '1');
      hold();
      await gate.opened;
    });
    await Promise.race([held, holding]);
    let read = 0;
    const waiting = waiter.executor.unit(async (tx) => {
      await tx.alone('default', 'anna');
      await tx.all('SELECT name FROM marks');
      read += 1;
    });
    await expect(waiting).rejects.toMatchObject({ kind: 'unavailable' });
    expect(read).toBe(0);
    gate.open();
    await holding;
    expect(waiter.pool.breaker.up).toBe(true);
  });

  it('is undone when it throws, and its events never were', async () => {
    await using sidecar = start();
    const unit = sidecar.executor.unit(async (tx) => {
      await tx.run(put, 'a', '1');
      tx.record(created());
      throw new Error('no');
    });
    await expect(unit).rejects.toThrow('no');
    expect(await marks()).toEqual([]);
    expect(trail.taken).toEqual([]);
  });

  it('is undone when the trail takes no events', async () => {
    await using sidecar = start();
    trail.failure = new Error('the disk is full');
    const unit = sidecar.executor.unit(async (tx) => {
      await tx.run(put, 'a', '1');
      tx.record(created());
    });
    await expect(unit).rejects.toThrow('the disk is full');
    expect(await marks()).toEqual([]);
    expect(sidecar.pool.breaker.up).toBe(true);
  });

  it.each(['with', 'without'])(
    'does not count as done when it went on after a failed statement, %s events',
    async (how) => {
      await using sidecar = start();
      const unit = sidecar.executor.unit(async (tx) => {
        await tx.run(put, 'a', '1');
        await Promise.resolve(tx.run(put, 'a', '2')).catch(() => {});
        if (how === 'with') tx.record(created());
      });
      await expect(unit).rejects.toMatchObject({ kind: 'unavailable' });
      expect(await marks()).toEqual([]);
      expect(trail.taken.map(({ state }) => state)).not.toContain('confirmed');
    },
  );

  it('runs again after a conflict, with the events of the last run only', async () => {
    await using sidecar = start();
    let runs = 0;
    await sidecar.executor.unit(async (tx) => {
      runs += 1;
      await tx.run(put, `run ${runs}`, '1');
      tx.record(created());
      if (runs < 3) throw new UnitConflict('another was first');
    });
    expect(await marks()).toEqual(['run 3']);
    expect(trail.events).toHaveLength(1);
  });

  it('does not run again for ever', async () => {
    await using sidecar = start();
    let runs = 0;
    const unit = sidecar.executor.unit(() => {
      runs += 1;
      throw new UnitConflict('another was first');
    });
    await expect(unit).rejects.toMatchObject({ kind: 'unavailable', reason: 'STORE_UNAVAILABLE' });
    expect(runs).toBeGreaterThan(2);
    expect(runs).toBeLessThan(20);
    expect(sidecar.pool.breaker.up).toBe(true);
  });

  it('leaves nothing in the session', async () => {
    await using sidecar = start({ connections: 1 });
    await sidecar.executor.unit(async (tx) => {
      await tx.alone('main', 'ann');
      await tx.run(put, 'a', '1');
    });
    const [row] = await sidecar.executor.read(
      `SELECT current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock,
         current_setting('idle_in_transaction_session_timeout') AS idle,
         (SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory') AS locks,
         (SELECT COUNT(*) FROM pg_prepared_statements) AS prepared`,
    );
    expect(row).toEqual({ statement: '0', lock: '0', idle: '0', locks: 0, prepared: 0 });
  });

  it('takes as many round trips as it has statements, and three more with its events', async () => {
    await using proxy = await TcpProxy.start(server.port);
    let replies = 0;
    // ReadyForQuery ends the answer to each message that asks for one: 'Z', length 5, status.
    proxy.watchServer(() => (chunk) => {
      for (
        let at = chunk.indexOf('Z\0\0\0\x05', 0, 'latin1');
        at !== -1;
        at = chunk.indexOf('Z\0\0\0\x05', at + 1, 'latin1')
      )
        replies += 1;
      return 'forward';
    });
    await using sidecar = start({ url: proxy.inFrontOf(database.url), connections: 1 });
    await sidecar.executor.read('SELECT 1');
    replies = 0;
    await sidecar.executor.unit(async (tx) => {
      await tx.alone('main', 'ann');
      for (const name of ['a', 'b', 'c', 'd']) await tx.run(put, name, '1');
      tx.record(created());
    });
    expect(replies).toBe(7);
  });

  it('is alone with one person at most', async () => {
    await using sidecar = start();
    const unit = sidecar.executor.unit(async (tx) => {
      await tx.alone('main', 'ann');
      await tx.alone('main', 'ann');
      await tx.alone('main', 'bob');
    });
    await expect(unit).rejects.toThrow('one person');
  });
});

describe('values', () => {
  it('come as in SQLite, and a number that cannot be exact is refused', async () => {
    await using sidecar = start();
    const [row] = await sidecar.executor.read(
      `SELECT 9007199254740991::bigint AS big, 7::smallint AS small, true AS yes, '\\x00ff'::bytea AS bytes, NULL AS none, 'ä' AS text`,
    );
    expect(row).toEqual({
      big: Number.MAX_SAFE_INTEGER,
      small: 7,
      yes: 1,
      bytes: Buffer.from([0, 255]),
      none: null,
      text: 'ä',
    });
    expect(row?.['bytes']).toBeInstanceOf(Uint8Array);
    await expect(sidecar.executor.read('SELECT 9007199254740993::bigint AS big')).rejects.toThrow('too large');
    expect(await sidecar.executor.read('SELECT $1::bigint AS n, $2::bytea AS b', 5, Uint8Array.of(1, 2))).toEqual([
      { n: 5, b: Buffer.from([1, 2]) },
    ]);
  });

  it('do not get into errors', async () => {
    await using sidecar = start();
    const secret = 'ann@example.org';
    const twice = sidecar.executor.unit(async (tx) => {
      await tx.run(put, secret, '1');
      await tx.run(put, secret, '1');
    });
    const error = (await twice.catch((reason: unknown) => reason)) as Error & { details: { cause: Error } };
    expect(error).toMatchObject({ kind: 'unavailable' });
    expect(`${error.message} ${error.details.cause.message} ${JSON.stringify(error.details.cause)}`).not.toContain(
      secret,
    );
  });
});

describe('a lost reply to COMMIT', () => {
  it('is found out while the caller waits', async () => {
    await using proxy = await TcpProxy.start(server.port);
    const commits = losingCommits(proxy);
    await using sidecar = start({ url: proxy.inFrontOf(database.url) });
    commits.lose(1);
    const value = await sidecar.executor.unit(async (tx) => {
      await tx.run(put, 'a', '1');
      tx.record(created());
      return 7;
    });
    expect(value).toBe(7);
    expect(commits.lost).toBe(1);
    expect(await marks()).toEqual(['a']);
    expect(trail.taken.map(({ state }) => state)).toEqual(['confirmed']);
  });

  it('is found out later when PostgreSQL is away too, and the caller is told that nobody knows', async () => {
    await using proxy = await TcpProxy.start(server.port);
    const commits = losingCommits(proxy);
    await using sidecar = start({ url: proxy.inFrontOf(database.url), timeoutMs: 2_000 });
    await sidecar.executor.read('SELECT 1');
    await sidecar.executor.unit((tx) => tx.all('SELECT 1'));
    commits.lose(1);
    proxy.refuse();
    const unit = sidecar.executor.unit(async (tx) => {
      await tx.run(put, 'a', '1');
      tx.record(created());
    });
    await expect(unit).rejects.toMatchObject({ kind: 'unavailable', reason: 'STORE_UNAVAILABLE' });
    await until(() => sidecar.executor.openCommits === 1);
    expect(trail.taken.map(({ state }) => state)).toEqual(['taken']);
    proxy.refuse(false);
    await until(() => sidecar.executor.openCommits === 0);
    expect(trail.taken.map(({ state }) => state)).toEqual(['confirmed']);
    expect(await marks()).toEqual(['a']);
  });

  it('does not stand for success when the COMMIT never arrived', async () => {
    await using proxy = await TcpProxy.start(server.port);
    await using sidecar = start({ url: proxy.inFrontOf(database.url), timeoutMs: 2_000 });
    using gate = new Gate();
    await sidecar.executor.read('SELECT 1');
    trail.hold = gate.opened;
    const unit = sidecar.executor.unit(async (tx) => {
      await tx.run(put, 'a', '1');
      tx.record(created());
    });
    const outcome = unit.catch((error: unknown) => error);
    // It has its transaction id, and only the trail keeps it from its COMMIT.
    await until(hasNamedItself);
    proxy.hang();
    gate.open();
    expect(await outcome).toMatchObject({ kind: 'unavailable' });
    proxy.cutAll();
    proxy.hang(false);
    await until(() => trail.taken[0]?.state === 'revoked');
    expect(await marks()).toEqual([]);
  });

  it('is not waited for when the unit is lost before its COMMIT, which does not run again by itself', async () => {
    await using proxy = await TcpProxy.start(server.port);
    await using sidecar = start({ url: proxy.inFrontOf(database.url) });
    using gate = new Gate();
    trail.hold = gate.opened;
    let runs = 0;
    const unit = sidecar.executor.unit(async (tx) => {
      runs += 1;
      await tx.run(put, 'a', '1');
      tx.record(created());
    });
    const outcome = unit.catch((error: unknown) => error);
    await until(hasNamedItself);
    proxy.cutAll();
    gate.open();
    expect(await outcome).toMatchObject({ kind: 'unavailable' });
    expect(trail.taken.map(({ state }) => state)).toEqual(['revoked']);
    expect(runs).toBe(1);
    expect(await marks()).toEqual([]);
  });
});

describe('a session', () => {
  it('has no settings of the environment of the process', async () => {
    process.env['PGOPTIONS'] = '-c synchronous_commit=off -c search_path=pg_temp';
    process.env['PGREPLICATION'] = 'database';
    onTestFinished(() => {
      delete process.env['PGOPTIONS'];
      delete process.env['PGREPLICATION'];
    });
    await using sidecar = start();
    const [row] = await sidecar.executor.read(
      "SELECT current_setting('synchronous_commit') AS synchronous, current_schema() AS schema",
    );
    expect(row).toEqual({ synchronous: 'on', schema: 'public' });
  });
});
