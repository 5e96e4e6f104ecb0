import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { Backlog } from '#src/adapters/audit/contract.ts';
import { ChainVerifier } from '#src/adapters/audit/verify.ts';
import { CentralAuditLog } from '#src/adapters/central/audit-log.ts';
import { TrailDatabase } from '#src/adapters/central/database.ts';
import { FLUSH, flushParameters } from '#src/adapters/central/flush-statement.ts';
import { PostgresFlushTarget } from '#src/adapters/central/flush-target.ts';
import { PostgresSubjectKeys } from '#src/adapters/central/subject-keys.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { systemClock, systemRandom } from '#src/adapters/system.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import type { AuditLog, ExportItem } from '#src/ports/audit.ts';
import { AuditReader } from '#src/services/audit-reader.ts';
import { PageTokens } from '#src/services/page-tokens.ts';
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

const secrets = new AesGcmSecretBox({ ring: createKeyRing(new SeededRandom('ring')), random: systemRandom });

function keysOver(database: TrailDatabase): PostgresSubjectKeys {
  const limits = { timeoutMs: 5_000, maxCached: 100, maxAgeMs: 60_000 };
  return new PostgresSubjectKeys({ database, secrets, random: systemRandom, clock: systemClock, ...limits });
}

const NO_STATUS: Pick<AuditLog, 'status'> = { status: () => Promise.reject(new Error('not asked here')) };

function logOver(trail: CentralTrail, database: Pick<TrailDatabase, 'ask' | 'read'> = trail.reading): CentralAuditLog {
  const keys = keysOver(trail.reading);
  return new CentralAuditLog({ database, keys, local: NO_STATUS, clock: systemClock, pollMs: 20, timeoutMs: 10_000 });
}

/** Events of one sidecar, sealed under the keys that the fleet shares; not stored yet. */
async function eventsOf(trail: CentralTrail, name: string, drafts: readonly Partial<EventDraft>[]): Promise<Backlog> {
  const bench = auditBench();
  const keys = keysOver(trail.adding);
  for (const { realm = 'default', subject = 'user-1' } of drafts) bench.keys.restore(await keys.of(realm, subject));
  const file = bench.open({ random: new SeededRandom(name) });
  file.stage(drafts.map((draft, index) => bench.draft({ id: `evt_${name}_${index}`, subject: 'user-1', ...draft })));
  file.commit();
  const backlog = backlogOf(file);
  file.close();
  return backlog;
}

const idsOf = (events: readonly { readonly id: string }[]) => events.map(({ id }) => id);
const own = (events: readonly { readonly id: string; readonly realm: string }[]) =>
  idsOf(events.filter(({ realm }) => realm !== ''));

describe('searching the central trail', () => {
  it('finds what all sidecars did, newest first, page by page', async () => {
    const trail = await centralTrail(server);
    await trail.target.store(await eventsOf(trail, 'a', [{}, {}]));
    await trail.target.store(await eventsOf(trail, 'b', [{}, {}]));
    const log = logOver(trail);
    const all = await log.query({ realm: 'default' }, 10);
    expect(idsOf(all)).toEqual(['evt_b_1', 'evt_b_0', 'evt_a_1', 'evt_a_0']);
    expect(new Set(all.map(({ chainId }) => chainId)).size).toBe(2);
    const second = all[1]?.position;
    expect(idsOf(await log.query({ realm: 'default' }, 10, second))).toEqual(['evt_a_1', 'evt_a_0']);
    expect(idsOf(await log.query({ realm: 'default' }, 1))).toEqual(['evt_b_1']);
  });

  it('narrows by every field of the filter', async () => {
    const trail = await centralTrail(server);
    const at = Date.now();
    await trail.target.store(
      await eventsOf(trail, 'a', [
        { challengeId: 'chl_x', sessionId: 'ses_x', at },
        { realm: 'other', at: at + 1, sessionId: '' },
        { type: 'session.created', subject: 'user-2', at: at + 2, outcome: 'REFUSED' },
        { type: 'session.ended', at: at + 3 },
      ]),
    );
    const log = logOver(trail);
    const find = async (filter: Parameters<AuditLog['query']>[0]) => own(await log.query(filter, 10));
    expect(await find({ challengeId: 'chl_x' })).toEqual(['evt_a_0']);
    expect(await find({ sessionId: 'ses_x' })).toEqual(['evt_a_0']);
    expect(await find({ realm: 'other' })).toEqual(['evt_a_1']);
    expect(await find({ realm: 'default', subject: 'user-2' })).toEqual(['evt_a_2']);
    expect(await find({ realm: 'default', subject: 'nobody' })).toEqual([]);
    expect(await find({ types: ['session.*'] })).toEqual(['evt_a_3', 'evt_a_2']);
    expect(await find({ types: ['session.ended'] })).toEqual(['evt_a_3']);
    expect(await find({ types: ['nothing.*'] })).toEqual([]);
    expect(await find({ outcome: 'REFUSED' })).toEqual(['evt_a_2']);
    expect(await find({ from: at + 1, until: at + 3 })).toEqual(['evt_a_2', 'evt_a_1']);
    expect(await find({ from: at + 3, until: at + 4, outcome: 'SUCCESS', types: ['session.ended'] })).toEqual([
      'evt_a_3',
    ]);
    await expect(log.query({ subject: 'user-2' }, 10)).rejects.toMatchObject({ kind: 'invalid' });
  });

  it('opens personal fields with any key that the person has, and shows none once they are erased', async () => {
    const trail = await centralTrail(server);
    await trail.target.store(await eventsOf(trail, 'a', [{ subject: 'kim' }, { subject: '', ipAddress: '192.0.2.9' }]));
    // Made by a sidecar that could not ask, and brought with the flush.
    const ref = 'a'.repeat(26);
    const key = { realm: 'default', subject: 'kim', ref, key: systemRandom.bytes(32) };
    const bench = auditBench();
    bench.keys.restore(key);
    const file = bench.open({ random: new SeededRandom('away') });
    file.stage([bench.draft({ id: 'evt_away', subject: 'kim' })]);
    file.commit();
    const sealed = secrets.seal(key.key, { purpose: 'subject.key', realm: 'default', subject: 'kim', id: ref });
    await trail.target.store({ ...backlogOf(file), subjectKeys: [{ realm: 'default', subject: 'kim', ref, sealed }] });
    file.close();
    const log = logOver(trail);
    const found = await log.query({ realm: 'default', subject: 'kim' }, 10);
    expect(idsOf(found)).toEqual(['evt_away', 'evt_a_0']);
    expect(found.map(({ subject, ipAddress }) => [subject, ipAddress])).toEqual([
      ['kim', '192.0.2.7'],
      ['kim', '192.0.2.7'],
    ]);
    const [nameless] = await log.query({ realm: 'default' }, 2, found[0]?.position);
    expect(nameless).toMatchObject({ id: 'evt_a_1', subject: '', ipAddress: '192.0.2.9' });
    await trail.sql(`DELETE FROM subject_keys WHERE subject = 'kim'`);
    const after = await log.query({ realm: 'default', types: ['challenge.approved'] }, 10);
    expect(after.map(({ id, subject, ipAddress }) => [id, subject, ipAddress])).toEqual([
      ['evt_away', '', ''],
      ['evt_a_1', '', '192.0.2.9'],
      ['evt_a_0', '', ''],
    ]);
    expect(await log.verify('')).toMatchObject({ intact: true });
  });

  it('says which row is damaged rather than leaving it out', async () => {
    const trail = await centralTrail(server);
    await trail.target.store(await eventsOf(trail, 'a', [{}]));
    await trail.sql(`UPDATE audit_events SET record = '\\xff' WHERE sequence = 2`);
    await expect(logOver(trail).query({}, 10)).rejects.toMatchObject({ kind: 'data-loss', reason: 'INTEGRITY' });
  });

  it('exports what verifies elsewhere: all of it, one chain, a stretch', async () => {
    const trail = await centralTrail(server);
    const long = await eventsOf(
      trail,
      'a',
      Array.from({ length: 1_200 }, () => ({})),
    );
    await trail.target.store(long);
    await trail.target.store(await eventsOf(trail, 'b', [{}]));
    const log = logOver(trail);
    const exported = async (range: Parameters<AuditLog['exportPage']>[0]) => {
      const items: ExportItem[] = [];
      for (let cursor: string | undefined = ''; cursor !== undefined; ) {
        const page: Awaited<ReturnType<AuditLog['exportPage']>> = await log.exportPage(range, cursor);
        items.push(...page.items);
        cursor = page.next;
      }
      return items;
    };
    const verdictOf = (items: readonly ExportItem[], partial = false) => {
      const verifier = new ChainVerifier({ partial });
      for (const item of items) verifier.push(item);
      return verifier.verdict();
    };
    const all = await exported({ chainId: '', from: 0, to: 0 });
    expect(verdictOf(all)).toMatchObject({ intact: true, rows: long.rows.length + 2 });
    const chainId = long.rows[0]?.chainId ?? '';
    const one = await exported({ chainId, from: 0, to: 0 });
    expect(verdictOf(one)).toMatchObject({ intact: true, rows: long.rows.length });
    expect(one.findIndex(({ kind }) => kind === 'checkpoint')).toBeLessThan(
      one.findIndex(({ kind }) => kind === 'row'),
    );
    expect(verdictOf(one.slice(0, -5))).toMatchObject({ intact: false, fault: 'TRUNCATED' });
    const stretch = await exported({ chainId, from: 600, to: 1_150 });
    expect(verdictOf(stretch, true)).toMatchObject({ intact: true, rows: 551 });
    await expect(log.exportPage({ chainId: 'chn_no', from: 0, to: 0 }, '')).rejects.toMatchObject({
      kind: 'not-found',
    });
    for (const cursor of ['x', Buffer.from('["a",1]').toString('base64url')])
      await expect(log.exportPage({ chainId, from: 0, to: 0 }, cursor)).rejects.toMatchObject({ kind: 'invalid' });
  });
});

/** A flush that stays open until it is told to commit. */
async function heldFlush(trail: CentralTrail, backlog: Backlog) {
  const client = new Client({ connectionString: trail.urls.audit });
  await client.connect();
  onTestFinished(() => client.end());
  const [first] = backlog.rows;
  await client.query('BEGIN');
  await client.query('SELECT * FROM audit_admit($1, $2, $3)', [[first?.chainId], [1], [backlog.rows.length]]);
  await client.query(FLUSH, flushParameters(backlog, backlog.rows) as unknown[]);
  return { end: (how: 'COMMIT' | 'ROLLBACK') => client.query(how) };
}

describe('following the central trail', () => {
  it('waits for a flush that is under way before it shows what came behind it', async () => {
    const trail = await centralTrail(server);
    const log = logOver(trail);
    await trail.target.store(await eventsOf(trail, 'a', [{}]));
    const before = await log.head();
    const held = await heldFlush(trail, await eventsOf(trail, 'b', [{}, {}]));
    await trail.target.store(await eventsOf(trail, 'c', [{}]));
    // A search shows it; a follower who went past it would never see the others.
    expect(own(await log.query({}, 10))).toEqual(['evt_c_0', 'evt_a_0']);
    expect(await log.head()).toBe(before);
    expect(await log.after({}, before, 10)).toEqual([]);
    await held.end('COMMIT');
    expect(own(await log.after({}, before, 10))).toEqual(['evt_b_0', 'evt_b_1', 'evt_c_0']);
    expect(await log.head()).toBeGreaterThan(before);
  });

  it('goes on behind a flush that came to nothing', async () => {
    const trail = await centralTrail(server);
    const log = logOver(trail);
    await trail.target.store(await eventsOf(trail, 'a', [{}]));
    const before = await log.head();
    const held = await heldFlush(trail, await eventsOf(trail, 'b', [{}]));
    await trail.target.store(await eventsOf(trail, 'c', [{}]));
    expect(await log.after({}, before, 10)).toEqual([]);
    await held.end('ROLLBACK');
    expect(own(await log.after({}, before, 10))).toEqual(['evt_c_0']);
  });

  it('is not held up by other transactions, however long', async () => {
    const trail = await centralTrail(server);
    await trail.sql('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await trail.sql('SELECT pg_current_xact_id(), (SELECT count(*) FROM audit_events)');
    await trail.sql('SELECT pg_advisory_xact_lock_shared(1, 2), pg_advisory_xact_lock(12345)');
    await trail.target.store(await eventsOf(trail, 'a', [{}]));
    expect(own(await logOver(trail).after({}, 0, 10))).toEqual(['evt_a_0']);
    await trail.sql('ROLLBACK');
  });

  it('misses nothing and doubles nothing while many sidecars flush at once', async () => {
    const trail = await centralTrail(server);
    const log = logOver(trail);
    const writers = Array.from({ length: 6 }, (_, index) => `w${index}`);
    const backlogs = await Promise.all(
      writers.map((name) =>
        eventsOf(
          trail,
          name,
          Array.from({ length: 60 }, () => ({})),
        ),
      ),
    );
    const seen: string[] = [];
    let writing = true;
    const follow = async () => {
      for (let position = 0; ; ) {
        const isLast = !writing;
        const found = await log.after({}, position, 25);
        seen.push(...found.map(({ chainId, sequence }) => `${chainId} ${sequence}`));
        position = found.at(-1)?.position ?? position;
        if (found.length === 0 && isLast) return;
      }
    };
    const following = follow();
    await Promise.all(
      backlogs.map(async (backlog, writer) => {
        const pool = openPool(trail.urls.audit, { connections: 1 });
        const target = new PostgresFlushTarget({ database: new TrailDatabase({ pool }), timeoutMs: 10_000 });
        for (let from = 0; from < backlog.rows.length; from += 3 + writer)
          await target.store(partOf(backlog, from, from + 3 + writer));
      }),
    );
    writing = false;
    await following;
    const all = backlogs.flatMap(({ rows }) => rows.map(({ chainId, sequence }) => `${chainId} ${sequence}`));
    expect(seen.toSorted()).toEqual(all.toSorted());
  }, 60_000);

  it('tells listeners of what any sidecar wrote, and asks for nothing when nobody listens', async () => {
    const trail = await centralTrail(server);
    let asked = 0;
    const database: Pick<TrailDatabase, 'ask' | 'read'> = {
      ask: (...all) => {
        asked += 1;
        return trail.reading.ask(...all);
      },
      read: (...all) => trail.reading.read(...all),
    };
    const log = logOver(trail, database);
    const reader = new AuditReader({
      audit: log,
      clock: systemClock,
      pageTokens: new PageTokens({ seal: (plain) => plain, open: (sealed) => sealed }),
      counters: () => ({ folded: 0, lost: 0 }),
      heartbeatMs: 60_000,
    });
    await trail.target.store(await eventsOf(trail, 'a', [{}, {}]));
    const stop = new AbortController();
    const seen: string[] = [];
    const following = (async () => {
      for await (const event of reader.follow({ realm: 'default' }, 1, stop.signal)) if (event) seen.push(event.id);
    })();
    await expect.poll(() => seen).toEqual(['evt_a_1']);
    await trail.target.store(await eventsOf(trail, 'b', [{}]));
    await expect.poll(() => seen).toEqual(['evt_a_1', 'evt_b_0']);
    stop.abort();
    await following;
    await sleep(60);
    expect(asked).toBeGreaterThan(2);
    const before = asked;
    await sleep(100);
    expect(asked).toBe(before);
  });
});
