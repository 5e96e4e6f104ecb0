import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backlog } from '#src/adapters/audit/contract.ts';
import { TrailDatabase } from '#src/adapters/central/database.ts';
import { PostgresFlushTarget } from '#src/adapters/central/flush-target.ts';
import { verifyCentral } from '#src/adapters/central/verify-central.ts';
import { type PostgresServer, startPostgres } from '../../../scripts/servers/postgres.ts';
import { auditBench, writeEvents } from '../../support/audit-files.ts';
import { backlogOf, type CentralTrail, centralTrail, openPool, partOf } from '../../support/central-trail.ts';
import { TcpProxy } from '../../support/tcp-proxy.ts';
import { losingCommits } from '../../support/tcp-proxy-commit.ts';

let server: PostgresServer;

beforeAll(async () => {
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** What a sidecar has written, with a checkpoint each ten events. */
function written(count = 40): Backlog {
  const bench = auditBench();
  const file = bench.open();
  for (let batch = 0; batch < count / 10; batch += 1) {
    writeEvents(bench, file, 10);
    file.checkpoint(bench.clock.now());
  }
  const backlog = backlogOf(file);
  file.close();
  return backlog;
}

async function stored(trail: CentralTrail) {
  const [row] = await trail.sql<{ rows: number; checkpoints: number; doubles: number }>(
    `SELECT (SELECT count(*)::int FROM audit_events) AS rows, (SELECT count(*)::int FROM audit_checkpoints) AS checkpoints,
       (SELECT count(*)::int FROM (SELECT 1 FROM audit_events GROUP BY chain_id, sequence HAVING count(*) > 1) AS d) AS doubles`,
  );
  return row;
}

describe('the flush to PostgreSQL', () => {
  it('stores what verifies, with the columns that searches need', async () => {
    const trail = await centralTrail(server);
    const backlog = written();
    expect(await trail.target.store(backlog)).toEqual({ outcome: 'stored' });
    const { verdict, unsigned } = await verifyCentral(trail.chains, { chainId: '' });
    expect({ verdict, unsigned }).toEqual({
      verdict: { intact: true, rows: backlog.rows.length, checkpoints: backlog.checkpoints.length },
      unsigned: 0,
    });
    const last = backlog.rows.at(-1);
    expect(await trail.target.head(last?.chainId ?? '')).toEqual({
      sequence: last?.sequence,
      hash: Uint8Array.from(last?.hash ?? []),
    });
    expect(await trail.target.head('chn_nobody')).toEqual({ sequence: 0, hash: new Uint8Array() });
  });

  it('takes the same backlog twice, and overlapping ones, and keeps each row once', async () => {
    const trail = await centralTrail(server);
    const backlog = written();
    const total = backlog.rows.length;
    for (const [from, to] of [
      [0, 15],
      [0, 15],
      [10, 30],
      [5, 20],
      [29, total],
      [0, total],
    ] as const)
      expect(await trail.target.store(partOf(backlog, from, to))).toEqual({ outcome: 'stored' });
    expect(await stored(trail)).toEqual({ rows: total, checkpoints: backlog.checkpoints.length, doubles: 0 });
    expect((await verifyCentral(trail.chains, { chainId: '' })).verdict).toMatchObject({ intact: true, rows: total });
  });

  it('takes the same rows from two senders at once and keeps each once', async () => {
    const trail = await centralTrail(server);
    const backlog = written();
    const pool = openPool(trail.urls.audit, { connections: 2 });
    const other = new PostgresFlushTarget({ database: new TrailDatabase({ pool }), timeoutMs: 10_000 });
    const parts = [0, 10, 20, 30].flatMap((from) => [
      partOf(backlog, from, from + 15),
      partOf(backlog, from, from + 12),
    ]);
    const outcomes = await Promise.all(
      parts.map((part, index) => (index % 2 === 0 ? other : trail.target).store(part)),
    );
    expect(outcomes.every(({ outcome }) => outcome === 'stored')).toBe(true);
    expect(await stored(trail)).toMatchObject({ rows: backlog.rows.length, doubles: 0 });
  });

  it('names the first row that is there with another hash, in whatever partition, and stores nothing', async () => {
    const trail = await centralTrail(server);
    const ours = written(20);
    const [row] = ours.rows;
    await trail.target.store(partOf(ours, 0, 5));
    // The twin of a chain, with other events under the same numbers, some of them in another month.
    const theirs = written(20);
    const chainId = row?.chainId ?? '';
    const forged = {
      ...theirs,
      chains: ours.chains,
      rows: theirs.rows.map((one) => ({ ...one, chainId, hash: Uint8Array.from(one.hash, (byte) => byte ^ 1) })),
      checkpoints: [],
    };
    expect(await trail.target.store(forged)).toEqual({ outcome: 'clash', chainId, sequence: 1 });
    expect(await trail.target.store(partOf(forged, 4, 9))).toEqual({ outcome: 'clash', chainId, sequence: 5 });
    expect(await stored(trail)).toMatchObject({ rows: 5 });
    await trail.sql(`UPDATE audit_events SET at = at + 40 * 86400000::bigint WHERE sequence = 5`);
    expect(await trail.target.store(partOf(forged, 4, 9))).toEqual({ outcome: 'clash', chainId, sequence: 5 });
    const [signed] = ours.checkpoints;
    if (!signed) throw new Error('nothing is signed');
    const unsound = { ...partOf(ours, 0, 0), checkpoints: [{ ...signed, sequence: 3 }] };
    expect(await trail.target.store(unsound)).toEqual({ outcome: 'clash', chainId, sequence: 3 });
    expect(await stored(trail)).toMatchObject({ rows: 5, checkpoints: 1 });
  });

  it('keeps a checkpoint that is signed again at another time', async () => {
    const trail = await centralTrail(server);
    const backlog = written(10);
    await trail.target.store(backlog);
    const again = backlog.checkpoints.map((one) => ({ ...one, signedAt: one.signedAt + 1 }));
    expect(await trail.target.store({ ...backlog, checkpoints: again })).toEqual({ outcome: 'stored' });
    expect(await stored(trail)).toMatchObject({ checkpoints: 2 * backlog.checkpoints.length });
  });

  it('loses nothing and doubles nothing when the reply to COMMIT is lost, fifty times', async () => {
    const trail = await centralTrail(server);
    await using proxy = await TcpProxy.start(server.port);
    const commits = losingCommits(proxy);
    const pool = openPool(proxy.inFrontOf(trail.urls.audit), { connections: 1 });
    const target = new PostgresFlushTarget({ database: new TrailDatabase({ pool }), timeoutMs: 5_000 });
    const backlog = written(250);
    for (let part = 0; part < 50; part += 1) {
      const piece = partOf(backlog, part * 5, part * 5 + 5);
      commits.lose(1);
      await expect(target.store(piece)).rejects.toMatchObject({ kind: 'unavailable' });
      expect(await target.store(piece)).toEqual({ outcome: 'stored' });
    }
    await target.store(partOf(backlog, 250, backlog.rows.length));
    expect(commits.lost).toBe(50);
    expect(await stored(trail)).toEqual({
      rows: backlog.rows.length,
      checkpoints: backlog.checkpoints.length,
      doubles: 0,
    });
    expect((await verifyCentral(trail.chains, { chainId: '' })).verdict.intact).toBe(true);
  }, 60_000);

  it('adds with a role that can neither read, change, take away nor empty anything', async () => {
    const trail = await centralTrail(server);
    const backlog = written(10);
    expect(await trail.target.store(backlog)).toEqual({ outcome: 'stored' });
    const tables = [
      'audit_events',
      'audit_events_default',
      'audit_chains',
      'audit_checkpoints',
      'audit_checkpoint_keys',
    ];
    const months = await trail.sql<{ name: string }>(
      `SELECT relid::text AS name FROM pg_partition_tree('audit_events') WHERE isleaf`,
    );
    for (const table of [...tables, ...months.map(({ name }) => name), 'audit_prunes', 'subject_keys'])
      for (const statement of [
        `UPDATE ${table} SET ${table === 'subject_keys' ? "sealed_key = ''" : table === 'audit_checkpoint_keys' ? "public_key = ''" : "chain_id = ''"}`,
        `DELETE FROM ${table}`,
        `TRUNCATE ${table}`,
        `SELECT * FROM ${table}`,
        `DROP TABLE ${table}`,
      ])
        await expect(trail.adding.ask(5_000, statement), statement).rejects.toMatchObject({
          message: expect.stringMatching(/42501/),
        });
    await expect(trail.adding.ask(5_000, 'SELECT audit_horizon()')).rejects.toThrow(/42501/);
    expect(await stored(trail)).toMatchObject({ rows: backlog.rows.length });
  });

  it('reads and changes nothing of the trail with the role of the state', async () => {
    const trail = await centralTrail(server);
    await trail.target.store(written(10));
    for (const statement of [
      `UPDATE audit_events SET realm = ''`,
      'DELETE FROM audit_events',
      'TRUNCATE audit_events',
      `INSERT INTO audit_prunes VALUES ('c', 1, '', 1, 'k', '')`,
    ])
      await expect(trail.reading.ask(5_000, statement), statement).rejects.toThrow(/42501/);
  });

  it('keeps events of months without a partition, and moves them when the month comes', async () => {
    const trail = await centralTrail(server);
    const bench = auditBench();
    const file = bench.open();
    const ahead = Date.now() + 95 * 86_400_000;
    file.stage([bench.draft({ at: ahead }), bench.draft({ at: 86_400_000 }), bench.draft({ at: Date.now() })]);
    file.commit();
    file.checkpoint(Date.now());
    const backlog = backlogOf(file);
    file.close();
    expect(await trail.target.store(backlog)).toEqual({ outcome: 'stored' });
    const outside = () =>
      trail.sql<{ at: string }>('SELECT at FROM audit_events_default WHERE at > 86400000 ORDER BY at DESC');
    const before = await outside();
    expect(before.map(({ at }) => Number(at))).toContain(ahead);
    await trail.sql('SELECT audit_prepare(4)');
    expect((await outside()).map(({ at }) => Number(at))).not.toContain(ahead);
    expect((await verifyCentral(trail.chains, { chainId: '' })).verdict).toMatchObject({
      intact: true,
      rows: backlog.rows.length,
    });
    // The same again finds them where they are now.
    expect(await trail.target.store(backlog)).toEqual({ outcome: 'stored' });
    expect(await stored(trail)).toMatchObject({ rows: backlog.rows.length, doubles: 0 });
  });

  it('makes the partitions of coming months once, however many ask', async () => {
    const trail = await centralTrail(server);
    const pools = Array.from(
      { length: 8 },
      () => new TrailDatabase({ pool: openPool(trail.urls.audit, { connections: 1 }) }),
    );
    const made = await Promise.all(
      pools.map((database) => database.transaction(5_000, (run) => run('SELECT audit_prepare(5) AS made'))),
    );
    // Three months were made with the schema; each month has two tables.
    expect(made.flat().reduce((sum, row) => sum + Number(row['made']), 0)).toBe(6);
    await trail.target.prepare();
  });

  it('says that central storage is unavailable, in whatever way it is', async () => {
    const trail = await centralTrail(server);
    const backlog = written(10);
    await trail.sql('BEGIN');
    await trail.sql('LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE');
    const quick = new PostgresFlushTarget({ database: trail.adding, timeoutMs: 200 });
    await expect(quick.store(backlog)).rejects.toMatchObject({ kind: 'unavailable', reason: 'STORE_UNAVAILABLE' });
    await trail.sql('ROLLBACK');
    // Over the same connections, with more time.
    expect(await trail.target.store(backlog)).toEqual({ outcome: 'stored' });
  });
});
