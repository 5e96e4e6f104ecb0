import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import SqliteDatabase from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { Fault } from '#src/domain/faults.ts';
import { auditBench, writeEvents } from '../../support/audit-files.ts';

describe('the audit file', () => {
  it('begins a chain, numbers without gaps and verifies', () => {
    const bench = auditBench();
    const file = bench.open();
    const first = file.head().sequence;
    writeEvents(bench, file, 3);
    expect(file.head().sequence).toBe(first + 3);
    expect(file.head().position).toBe(file.head().sequence);
    expect(file.verify('')).toMatchObject({ intact: true, rows: first + 3 });
    expect(file.query({}, 100).map(({ type }) => type)).toContain('audit.chain_started');
    file.close();
    expect(bench.damages).toEqual([]);
  });

  it('is for its owner alone', () => {
    const bench = auditBench();
    const file = bench.open();
    writeEvents(bench, file, 1);
    for (const name of ['audit.db', 'audit.db-wal', 'audit.db-shm', 'audit.anchor'])
      expect(statSync(join(bench.folder, name)).mode & 0o077, name).toBe(0);
    file.close();
  });

  it('goes on with the same chain after a restart', () => {
    const bench = auditBench();
    const file = bench.open();
    writeEvents(bench, file, 3);
    const head = file.head();
    file.close();
    const again = bench.open();
    expect(again.head()).toEqual(head);
    writeEvents(bench, again, 2);
    expect(again.verify(head.chainId)).toMatchObject({ intact: true, rows: head.sequence + 2 });
    again.close();
  });

  it('stages nothing durable and forgets what was rolled back', () => {
    const bench = auditBench();
    const file = bench.open();
    const head = file.head();
    file.stage([bench.draft(), bench.draft()]);
    expect(file.head()).toEqual(head);
    file.rollback();
    expect(file.commit()).toEqual(head);
    writeEvents(bench, file, 1);
    expect(file.head().sequence).toBe(head.sequence + 1);
    expect(file.verify('').intact).toBe(true);
    file.close();
  });

  it('keeps personal fields off the disk and gives them back until the key is destroyed', () => {
    const bench = auditBench();
    const file = bench.open();
    file.stage([bench.draft({ subject: 'alice-in-clear', ipAddress: '198.51.100.77', userAgent: 'Secret-Agent/7' })]);
    file.commit();
    const [read] = file.query({ realm: 'default', subject: 'alice-in-clear' }, 1);
    expect(read).toMatchObject({ subject: 'alice-in-clear', ipAddress: '198.51.100.77', userAgent: 'Secret-Agent/7' });
    file.checkpoint(bench.clock.now());
    for (const name of readdirSync(bench.folder)) {
      const bytes = readFileSync(join(bench.folder, name));
      for (const secret of ['alice-in-clear', '198.51.100.77', 'Secret-Agent/7'])
        expect(bytes.includes(secret), `${secret} in ${name}`).toBe(false);
    }
    bench.keys.erase('default', 'alice-in-clear');
    const [erased] = file.query({ types: ['challenge.approved'] }, 1);
    expect(erased).toMatchObject({ subject: '', ipAddress: '', userAgent: '', subjectRef: read?.subjectRef });
    expect(file.query({ realm: 'default', subject: 'alice-in-clear' }, 1)).toEqual([]);
    expect(file.verify('').intact).toBe(true);
    file.close();
  });

  it('seals the address of nobody in particular and gives the event no pseudonym', () => {
    const bench = auditBench();
    const file = bench.open();
    file.stage([bench.draft({ type: 'session.rejected', subject: '', ipAddress: '203.0.113.9' })]);
    file.commit();
    const [read] = file.query({ types: ['session.rejected'] }, 1);
    expect(read).toMatchObject({ subject: '', subjectRef: '', ipAddress: '203.0.113.9' });
    file.close();
  });

  it('encodes what a terminal would obey and caps every value', () => {
    const bench = auditBench();
    const file = bench.open();
    file.stage([
      bench.draft({
        reason: 'a\r\nb',
        userAgent: `\u001b[31mred${'x'.repeat(1_000_000)}`,
        facts: Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k${i}\n`, 'é'.repeat(2_000)])),
      }),
    ]);
    file.commit();
    const [read] = file.query({}, 1);
    expect(read?.reason).toBe('a\\u{d}\\u{a}b');
    expect(read?.userAgent.startsWith('\\u{1b}[31mred')).toBe(true);
    expect(Buffer.byteLength(read?.userAgent ?? '')).toBeLessThanOrEqual(512);
    expect(read?.facts.every(({ key, value }) => !/\p{Cc}/u.test(key + value) && Buffer.byteLength(value) <= 512)).toBe(
      true,
    );
    expect(JSON.stringify(read?.facts).length).toBeLessThan(10_000);
    expect(read?.facts.at(-1)?.key).toBe('~');
    file.close();
  });

  it('refuses at its bound without touching what is there, and takes events again with more room', () => {
    const bench = auditBench();
    const file = bench.open({ maxBytes: 256 * 1024 });
    let refused: unknown;
    for (let batch = 0; batch < 200 && !refused; batch += 1)
      try {
        writeEvents(bench, file, 20);
      } catch (error) {
        refused = error;
      }
    expect(refused).toBeInstanceOf(Fault);
    expect(refused).toMatchObject({ kind: 'unavailable', reason: 'AUDIT_UNAVAILABLE' });
    expect(file.status().bytes).toBeLessThanOrEqual(256 * 1024);
    expect(file.status().writable).toBe(false);
    expect(file.verify('').intact).toBe(true);
    const { sequence } = file.head();
    file.close();
    const roomier = bench.open();
    expect(roomier.head().sequence).toBe(sequence);
    writeEvents(bench, roomier, 20);
    expect(roomier.status().writable).toBe(true);
    roomier.close();
  });

  it('stops on a full disk and recovers by itself when there is room', () => {
    const bench = auditBench();
    let database: SqliteDatabase.Database | undefined;
    const file = bench.open({
      openDatabase: (path, settings) => {
        database = new SqliteDatabase(path, settings);
        return database;
      },
    });
    const pages = database?.pragma('page_count', { simple: true });
    database?.pragma(`max_page_count = ${Number(pages) + 2}`);
    const head = file.head();
    file.stage(Array.from({ length: 200 }, () => bench.draft()));
    expect(() => file.commit()).toThrow(Fault);
    expect(file.head()).toEqual(head);
    expect(file.status().writable).toBe(false);
    database?.pragma('max_page_count = 1000000');
    file.checkpoint(bench.clock.now());
    expect(file.status().writable).toBe(true);
    writeEvents(bench, file, 5);
    expect(file.verify('')).toMatchObject({ intact: true, rows: head.sequence + 5 });
    file.close();
    expect(bench.damages).toEqual([]);
  });

  it('keeps new subject keys beside their first event until they are confirmed', () => {
    const bench = auditBench();
    const file = bench.open();
    file.stage([bench.draft({ subject: 'new-person' })]);
    file.commit();
    const [stashed] = file.stashedKeys();
    expect(stashed).toMatchObject({ realm: 'default', subject: 'new-person' });
    expect(Buffer.from(stashed?.key ?? [])).toEqual(Buffer.from(bench.keys.of('default', 'new-person').key));
    file.close();
    const again = bench.open();
    expect(again.stashedKeys()).toHaveLength(1);
    again.dropStashedKeys();
    bench.keys.committed();
    writeEvents(bench, again, 1);
    expect(again.stashedKeys().map(({ subject }) => subject)).not.toContain('new-person');
    again.close();
  });

  it('names the events after a position that claim an effect', () => {
    const bench = auditBench();
    const file = bench.open();
    const { position } = file.head();
    file.stage([bench.draft({ correlationId: 'c1' }), bench.draft({ type: 'challenge.refused', outcome: 'REFUSED' })]);
    file.commit();
    expect(file.eventIdsAfter(position)).toMatchObject([
      { position: position + 1, type: 'challenge.approved', realm: 'default', correlationId: 'c1' },
    ]);
    file.close();
  });
});

describe('a search', () => {
  it('agrees with filtering everything, over several buckets, in both directions', () => {
    const bench = auditBench();
    const file = bench.open();
    for (let batch = 0; batch < 30; batch += 1) {
      const drafts = Array.from({ length: 100 }, (_, index) =>
        bench.draft({
          type: index % 3 === 0 ? 'session.created' : index % 3 === 1 ? 'challenge.refused' : 'challenge.approved',
          outcome: index % 3 === 1 ? 'REFUSED' : 'SUCCESS',
          realm: index % 2 === 0 ? 'default' : 'other',
        }),
      );
      file.stage(drafts);
      file.commit();
    }
    const all = file.query({}, 10_000);
    expect(all.length).toBe(file.head().position);
    const middle = all[1500];
    if (!middle) throw new Error('no middle');
    const filters = [
      { types: ['challenge.*'] },
      { types: ['session.created', 'challenge.refused'], realm: 'other' },
      { outcome: 'REFUSED' as const },
      { challengeId: middle.challengeId },
      { sessionId: 'ses_3', types: ['challenge.approved'] },
      { realm: 'default', subject: 'user-2' },
      { from: middle.at - 100, until: middle.at + 100 },
      { from: middle.at, types: ['nothing.*'] },
      { realm: 'default', subject: 'nobody' },
    ];
    const until = (filter: (typeof filters)[number]) => ('until' in filter ? filter.until : undefined) ?? Infinity;
    for (const filter of filters) {
      const should = all.filter(
        (event) =>
          (!filter.types ||
            filter.types.some((type) =>
              type.endsWith('*') ? event.type.startsWith(type.slice(0, -1)) : event.type === type,
            )) &&
          (!filter.realm || event.realm === filter.realm) &&
          (!filter.outcome || event.outcome === filter.outcome) &&
          (!filter.challengeId || event.challengeId === filter.challengeId) &&
          (!filter.sessionId || event.sessionId === filter.sessionId) &&
          (!filter.subject || event.subject === filter.subject) &&
          event.at >= (filter.from ?? 0) &&
          event.at < until(filter),
      );
      const positions = should.map(({ position }) => position);
      expect(file.query(filter, 10_000).map(({ position }) => position)).toEqual(positions);
      expect(file.after(filter, 0, 10_000).map(({ position }) => position)).toEqual(positions.toReversed());
      const half = Math.floor(positions.length / 2);
      expect(file.query(filter, 7, positions[half] ?? 1).map(({ position }) => position)).toEqual(
        positions.slice(half + 1, half + 8),
      );
    }
    file.close();
  });
});

describe('a damaged file', () => {
  const damaged = (harm: (path: string, folder: string) => void) => {
    const bench = auditBench();
    const file = bench.open();
    writeEvents(bench, file, 50);
    const head = file.head();
    file.close();
    harm(bench.path, bench.folder);
    const again = bench.open({ knownPosition: head.position });
    return { bench, head, again };
  };
  const edit = (path: string, sql: string) => {
    const db = new SqliteDatabase(path);
    db.exec(sql);
    db.close();
  };
  const harms: Record<string, { harm: (path: string, folder: string) => void; fault: string; linked: boolean }> = {
    'that is no database': {
      harm: (path) => writeFileSync(path, 'rubbish'.repeat(1000)),
      fault: 'UNREADABLE',
      linked: true,
    },
    'that is empty': { harm: (path) => writeFileSync(path, ''), fault: 'TRUNCATED', linked: true },
    'that is gone': { harm: (path) => rmSync(path), fault: 'TRUNCATED', linked: true },
    'whose tail was cut': {
      harm: (path) => edit(path, 'DELETE FROM events WHERE position > 40; DELETE FROM checkpoints'),
      fault: 'TRUNCATED',
      linked: true,
    },
    'whose head was edited': {
      harm: (path) =>
        edit(path, "UPDATE events SET record = x'00' WHERE position = (SELECT max(position) FROM events)"),
      fault: 'EDITED',
      linked: true,
    },
    'with a row that nobody wrote': {
      harm: (path) =>
        edit(
          path,
          'INSERT INTO events SELECT position + 1, chain, sequence + 1, at, realm, type, outcome, subject_tag, challenge_tag, session_tag, hash, record, hash FROM events ORDER BY position DESC LIMIT 1',
        ),
      fault: 'EDITED',
      linked: true,
    },
    'with a trigger': {
      harm: (path) =>
        edit(
          path,
          'CREATE TRIGGER hide AFTER INSERT ON events BEGIN DELETE FROM events WHERE position = new.position; END',
        ),
      fault: 'UNREADABLE',
      linked: true,
    },
    'whose checkpoint was forged': {
      harm: (path) => edit(path, 'UPDATE checkpoints SET signed_at = signed_at + 1'),
      fault: 'SIGNATURE',
      linked: true,
    },
  };
  for (const [name, { harm, fault }] of Object.entries(harms))
    it(`${name} is set aside and a linked chain begins, with an alarm`, () => {
      const { bench, head, again } = damaged(harm);
      expect(bench.damages).toMatchObject([{ fault, parentChainId: head.chainId, chainId: again.head().chainId }]);
      expect(again.head().chainId).not.toBe(head.chainId);
      expect(again.head().position).toBeGreaterThan(head.position);
      expect(again.query({ types: ['audit.chain_damaged'] }, 1)).toMatchObject([{ reason: fault, outcome: 'FAILED' }]);
      if (name !== 'that is gone')
        expect(readdirSync(bench.folder).some((file) => file.startsWith('audit.db.damaged-'))).toBe(true);
      writeEvents(bench, again, 5);
      expect(again.verify('').intact).toBe(true);
      const next = again.head();
      again.close();
      const third = bench.open({ knownPosition: next.position });
      expect(third.head()).toEqual(next);
      expect(bench.damages).toHaveLength(1);
      third.close();
    });

  it('notices an older copy by the position that the state knows, even with its own old anchor', () => {
    const bench = auditBench();
    const file = bench.open();
    writeEvents(bench, file, 10);
    file.close();
    const old = bench.copy();
    const newer = bench.open();
    writeEvents(bench, newer, 10);
    const head = newer.head();
    newer.close();
    const rolledBack = bench.open({ path: old, knownPosition: head.position });
    expect(bench.damages).toMatchObject([{ fault: 'TRUNCATED' }]);
    expect(rolledBack.head().position).toBeGreaterThan(head.position);
    rolledBack.close();
  });

  it('keeps the file but raises the alarm when only the anchor was altered', () => {
    const bench = auditBench();
    const file = bench.open();
    writeEvents(bench, file, 10);
    const head = file.head();
    file.close();
    const anchor = join(bench.folder, 'audit.anchor');
    writeFileSync(anchor, readFileSync(anchor, 'utf8').replace('"sequence": ', '"sequence": 1'));
    const again = bench.open();
    expect(bench.damages).toMatchObject([{ fault: 'SIGNATURE', chainId: head.chainId }]);
    expect(again.query({ types: ['audit.chain_damaged'] }, 1)).toHaveLength(1);
    expect(again.verify('').intact).toBe(true);
    again.close();
    expect(bench.open().head().chainId).toBe(head.chainId);
    expect(bench.damages).toHaveLength(1);
  });

  it('does not take an unreachable file for a damaged one', () => {
    const bench = auditBench();
    mkdirSync(bench.path);
    expect(() => bench.open()).toThrow();
    expect(bench.damages).toEqual([]);
  });
});
