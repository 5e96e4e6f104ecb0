import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CheckpointSigner } from '#src/adapters/audit/checkpoint-key.ts';
import type { Backlog } from '#src/adapters/audit/contract.ts';
import { TrailDatabase } from '#src/adapters/central/database.ts';
import { listPartitions } from '#src/adapters/central/partitions.ts';
import { type PruneOptions, prune } from '#src/adapters/central/prune.ts';
import { verifyCentral } from '#src/adapters/central/verify-central.ts';
import { type PostgresServer, startPostgres } from '../../../scripts/servers/postgres.ts';
import { auditBench } from '../../support/audit-files.ts';
import { backlogOf, type CentralTrail, centralTrail, openPool, partOf } from '../../support/central-trail.ts';
import { SeededRandom } from '../../support/random.ts';

let server: PostgresServer;

beforeAll(async () => {
  server = await startPostgres();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const DAY = 86_400_000;
const signer = new CheckpointSigner(new SeededRandom('seed').bytes(32));
const month = (ahead: number) => {
  const now = new Date();
  return Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + ahead, 1);
};

/** Partitions of the last months, as they are after some months of service. */
async function agedTrail(): Promise<CentralTrail> {
  const trail = await centralTrail(server);
  for (let ago = 5; ago >= 1; ago -= 1)
    for (const table of ['audit_events', 'audit_checkpoints']) {
      const name = `${table}_${new Date(month(-ago)).toISOString().slice(0, 7).replace('-', '_')}`;
      await trail.sql(
        `CREATE TABLE ${name} PARTITION OF ${table} FOR VALUES FROM (${month(-ago)}) TO (${month(1 - ago)})`,
      );
    }
  return trail;
}

/** A chain with events at these times, signed after every second one. */
function chainAt(name: string, times: readonly number[]): Backlog {
  const bench = auditBench();
  bench.clock.setWall((times[0] ?? 0) - 1);
  const file = bench.open({ random: new SeededRandom(name) });
  for (const [index, at] of times.entries()) {
    bench.clock.setWall(at + 1);
    file.stage([bench.draft({ id: `evt_${name}_${index}`, at })]);
    file.commit();
    if (index % 2 === 1) file.checkpoint(bench.clock.now());
  }
  file.checkpoint(bench.clock.now());
  const backlog = backlogOf(file);
  file.close();
  return backlog;
}

function pruning(trail: CentralTrail, more: Partial<PruneOptions> = {}) {
  const database = new TrailDatabase({ pool: openPool(trail.urls.owner) });
  const rest = { signer, before: month(-2), now: Date.now(), isDry: false, pause: (ms: number) => sleep(ms) };
  return prune({ database, ...rest, ...more });
}

const rowsOf = async (trail: CentralTrail) =>
  (
    await trail.sql<{ id: string }>(
      `SELECT chain_id || ' ' || sequence AS id FROM audit_events ORDER BY chain_id, sequence`,
    )
  ).map(({ id }) => id);
const verdictOf = async (trail: CentralTrail, more = {}) => await verifyCentral(trail.chains, { chainId: '', ...more });

describe('pruning the central trail', () => {
  it('drops whole months, and verification begins behind them', async () => {
    const trail = await agedTrail();
    const long = chainAt(
      'long',
      [-4, -4, -3, -3, -2, -2, -1, -1].map((ago, index) => month(ago) + (index % 2) * DAY + DAY),
    );
    const old = chainAt('old', [month(-4), month(-3)]);
    const young = chainAt('young', [month(-1)]);
    for (const backlog of [long, old, young]) await trail.target.store(backlog);
    const dry = await pruning(trail, { isDry: true });
    expect(dry).toMatchObject({ chains: 2, kept: 0 });
    expect(dry.partitions.map(({ name }) => name)).toHaveLength(6);
    expect(await rowsOf(trail)).toHaveLength(long.rows.length + old.rows.length + young.rows.length);
    expect(await pruning(trail)).toEqual(dry);
    const isKept = ({ chainId, sequence }: { chainId: string; sequence: number }) =>
      chainId === young.rows[0]?.chainId || (chainId === long.rows[0]?.chainId && sequence > 5);
    const kept = [...long.rows, ...old.rows, ...young.rows].filter(isKept);
    expect((await rowsOf(trail)).toSorted()).toEqual(
      kept.map(({ chainId, sequence }) => `${chainId} ${sequence}`).toSorted(),
    );
    expect(await verdictOf(trail)).toMatchObject({
      verdict: { intact: true, rows: kept.length },
      chains: 3,
      pruned: 2,
    });
    expect((await verdictOf(trail, { trustedKeyIds: new Set([signer.key.keyId]) })).verdict.intact).toBe(true);
    const names = (await listPartitions((sql) => trail.reading.ask(5_000, sql))).map(({ name }) => name);
    expect(dry.partitions.filter(({ name }) => names.includes(name))).toEqual([]);
    const [note] = await trail.sql<{ by: string }>('SELECT DISTINCT pruned_by AS by FROM audit_prunes');
    expect(note?.by).toMatch(/_owner$/);
    // The sidecar goes on where it was, and what it sends again is taken as there.
    expect(await trail.target.head(old.rows[0]?.chainId ?? '')).toMatchObject({ sequence: old.rows.length });
    for (const backlog of [long, old]) expect(await trail.target.store(backlog)).toEqual({ outcome: 'stored' });
    expect(await rowsOf(trail)).toHaveLength(kept.length);
    expect(await pruning(trail)).toEqual({ partitions: [], chains: 0, kept: 0 });
  });

  it('still finds what is done to a pruned trail', async () => {
    const trail = await agedTrail();
    const backlog = chainAt(
      'long',
      [-4, -3, -2, -2, -1, -1].map((ago) => month(ago) + DAY),
    );
    await trail.target.store(backlog);
    await pruning(trail);
    const first = 4;
    expect((await verdictOf(trail)).verdict).toMatchObject({ intact: true, rows: backlog.rows.length - first + 1 });
    const harms: readonly (readonly [string, string, number])[] = [
      [`DELETE FROM audit_events WHERE sequence = ${first}`, 'MISSING', first],
      ['DELETE FROM audit_events', 'TRUNCATED', first],
      [`UPDATE audit_prunes SET head_hash = sha256('x')`, 'SIGNATURE', first - 1],
      [`UPDATE audit_prunes SET sequence = sequence + 1`, 'SIGNATURE', first],
      [`UPDATE audit_prunes SET key_id = 'x'`, 'SIGNATURE', first - 1],
      ['DELETE FROM audit_prunes', 'MISSING', 1],
      [`UPDATE audit_events SET sequence = 2 WHERE sequence = ${first}`, 'FORKED', 2],
      [`UPDATE audit_events SET record = '' WHERE sequence = ${first + 1}`, 'EDITED', first + 1],
    ];
    for (const [sql, fault, sequence] of harms) {
      await trail.sql('CREATE SCHEMA IF NOT EXISTS kept');
      for (const table of ['audit_events', 'audit_prunes'])
        await trail.sql(`CREATE TABLE kept.${table} AS SELECT * FROM public.${table}`);
      await trail.sql(sql);
      expect((await verdictOf(trail)).verdict, sql).toMatchObject({ intact: false, fault, sequence });
      for (const table of ['audit_events', 'audit_prunes']) {
        await trail.sql(`DELETE FROM public.${table}`);
        await trail.sql(`INSERT INTO public.${table} OVERRIDING SYSTEM VALUE SELECT * FROM kept.${table}`);
      }
      await trail.sql('DROP SCHEMA kept CASCADE');
    }
    expect((await verdictOf(trail)).verdict.intact).toBe(true);
  });

  it('refuses a note by whoever else', async () => {
    const trail = await agedTrail();
    await trail.target.store(
      chainAt(
        'long',
        [-4, -3, -1].map((ago) => month(ago) + DAY),
      ),
    );
    const stranger = new CheckpointSigner(new SeededRandom('stranger').bytes(32));
    await expect(pruning(trail, { signer: stranger })).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringContaining('key ring'),
    });
    await trail.sql('INSERT INTO audit_checkpoint_keys VALUES ($1, $2)', [stranger.key.keyId, stranger.key.publicKey]);
    await pruning(trail, { signer: stranger });
    expect((await verdictOf(trail)).verdict.intact).toBe(true);
    expect((await verdictOf(trail, { trustedKeyIds: new Set([signer.key.keyId]) })).verdict).toMatchObject({
      fault: 'SIGNATURE',
    });
  });

  it('keeps chains without gaps where the clock was set back over the end of a month', async () => {
    const trail = await agedTrail();
    const edge = month(-2);
    // Rows 5 and 6 are older than the month, and come after row 4, which is not.
    const times = [edge - 3 * DAY, edge - 2 * DAY, edge + 1, edge - 5, edge - 4, edge + 10, edge + 20];
    const backlog = chainAt('skewed', times);
    await trail.target.store(backlog);
    const chainId = backlog.rows[0]?.chainId ?? '';
    const positions = await trail.sql(
      'SELECT sequence, position FROM audit_events WHERE sequence > 3 ORDER BY sequence',
    );
    expect(await pruning(trail)).toMatchObject({ chains: 1, kept: 2 });
    expect(await rowsOf(trail)).toEqual([4, 5, 6, 7, 8].map((sequence) => `${chainId} ${sequence}`));
    expect((await verdictOf(trail)).verdict).toMatchObject({ intact: true, rows: 5 });
    expect(await trail.sql('SELECT sequence, position FROM audit_events ORDER BY sequence')).toEqual(positions);
    // They go with the next month.
    expect(await pruning(trail, { before: month(-1), now: Date.now() + 31 * DAY })).toMatchObject({
      chains: 1,
      kept: 0,
    });
    expect(await rowsOf(trail)).toEqual([]);
    expect(await verdictOf(trail)).toMatchObject({ verdict: { intact: true, rows: 0 }, pruned: 1 });
  });

  it('changes nothing when a row is missing where a chain would be cut, or the month is too young', async () => {
    const trail = await agedTrail();
    const backlog = chainAt(
      'long',
      [-4, -3, -1].map((ago) => month(ago) + DAY),
    );
    await trail.target.store(backlog);
    await expect(pruning(trail, { before: month(0) })).rejects.toThrow(/31 days/);
    await trail.sql('DELETE FROM audit_events WHERE sequence = 3');
    const before = await rowsOf(trail);
    await expect(pruning(trail)).rejects.toThrow(/row 3 of chain .* is missing/);
    expect(await rowsOf(trail)).toEqual(before);
    expect((await listPartitions((sql) => trail.reading.ask(5_000, sql))).length).toBe(2 * 9);
  });

  it('is for the owner of the tables alone', async () => {
    const trail = await agedTrail();
    await trail.target.store(
      chainAt(
        'long',
        [-4, -1].map((ago) => month(ago) + DAY),
      ),
    );
    for (const database of [trail.reading, trail.adding])
      await expect(pruning(trail, { database })).rejects.toMatchObject({ message: expect.stringMatching(/own|42501/) });
    expect(await rowsOf(trail)).toHaveLength(3);
  });

  it('lets flushes through until the moment of the cut, and waits for those who read', async () => {
    const trail = await agedTrail();
    const backlog = chainAt(
      'long',
      [-4, -3, -1, -1, -1, -1].map((ago) => month(ago) + DAY),
    );
    await trail.target.store(partOf(backlog, 0, 4));
    await trail.sql('BEGIN');
    await trail.sql('SELECT count(*) FROM audit_events');
    const steps: string[] = [];
    const pruned = pruning(trail, {
      onStep: ({ step }) => steps.push(step),
      pause: async () => {
        // In between the tries somebody flushes.
        await trail.target.store(partOf(backlog, 4, 6));
        await trail.sql('COMMIT');
      },
    });
    expect(await pruned).toMatchObject({ chains: 1 });
    expect(steps).toContain('waiting');
    expect((await verdictOf(trail)).verdict).toMatchObject({ intact: true, rows: 3 });
  });
});
