import { copyFileSync, readdirSync, rmSync } from 'node:fs';
import SqliteDatabase from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { verifyFile } from '#src/adapters/audit/verify-file.ts';
import { type AuditBench, auditBench, flushRows, releaseAll, writeEvents } from '../../support/audit-files.ts';

/** A file of which the first 600 of 1,000 rows have left; the rest is signed. */
function partlyFlushed() {
  const bench = auditBench();
  const file = bench.openFlushed();
  for (let batch = 0; batch < 10; batch += 1) {
    writeEvents(bench, file, 100);
    file.checkpoint(bench.clock.now());
  }
  const flushed = flushRows(file, 600);
  releaseAll(file);
  return { bench, file, flushed };
}

function edit(path: string, sql: string): void {
  const db = new SqliteDatabase(path);
  db.exec(sql);
  db.close();
}

const firstRow = (path: string) => {
  const db = new SqliteDatabase(path, { readonly: true });
  const row = db.prepare<[], { first: number; count: number }>(
    'SELECT min(position) AS first, count(*) AS count FROM events',
  );
  const found = row.get();
  db.close();
  return found;
};

describe('a partly flushed file', () => {
  it('is shorter, verifies from its first row on, and goes on after a restart', () => {
    const { bench, file, flushed } = partlyFlushed();
    expect(firstRow(bench.path)?.first).toBe(flushed.sequence + 1);
    const { sequence } = file.head();
    expect(file.verify('')).toMatchObject({ intact: true, rows: sequence - 600 });
    expect(verifyFile(bench.path)).toMatchObject({ verdict: { intact: true, rows: sequence - 600 }, unsigned: 0 });
    const page = file.exportPage({ chainId: '', from: 0, to: 0 }, '');
    expect(page.items.find(({ kind }) => kind === 'row')).toMatchObject({ row: { sequence: 601 } });
    file.close();
    const again = bench.openFlushed();
    expect(bench.damages).toEqual([]);
    expect(again.status()).toMatchObject({ flushedSequence: 600, waiting: { events: sequence - 600 } });
    writeEvents(bench, again, 10);
    expect(again.waitingRows(0, 1)).toMatchObject([{ sequence: 601 }]);
    flushRows(again, 10_000);
    releaseAll(again);
    again.checkpoint(bench.clock.now());
    releaseAll(again);
    expect(again.verify('')).toMatchObject({ intact: true });
    expect(verifyFile(bench.path).verdict).toMatchObject({ intact: true, rows: 1 });
    again.close();
    const third = bench.openFlushed();
    writeEvents(bench, third, 1);
    expect(third.verify('').intact).toBe(true);
    expect(bench.damages).toEqual([]);
    third.close();
  });

  it('exports each row once, over several pages', () => {
    const { file } = partlyFlushed();
    const sequences: number[] = [];
    for (let cursor: string | undefined = ''; cursor !== undefined; ) {
      const page: ReturnType<typeof file.exportPage> = file.exportPage({ chainId: '', from: 0, to: 0 }, cursor);
      for (const item of page.items) if (item.kind === 'row') sequences.push(item.row.sequence);
      cursor = page.next;
    }
    expect(sequences).toEqual(Array.from({ length: file.head().sequence - 600 }, (_, index) => 601 + index));
    file.close();
  });

  it('keeps the row under its newest signature, however much was flushed', () => {
    const bench = auditBench();
    const file = bench.openFlushed();
    writeEvents(bench, file, 100);
    flushRows(file, 1_000);
    releaseAll(file);
    expect(firstRow(bench.path)?.first).toBe(1);
    file.checkpoint(bench.clock.now());
    releaseAll(file);
    expect(firstRow(bench.path)).toEqual({ first: file.head().position, count: 1 });
    file.close();
  });

  it('is signed when many rows have left behind the last signature, without waiting for the timer', () => {
    const bench = auditBench();
    const file = bench.openFlushed();
    writeEvents(bench, file, 1_000);
    flushRows(file, 2_000);
    releaseAll(file);
    expect(firstRow(bench.path)?.count).toBe(1);
    expect(verifyFile(bench.path)).toMatchObject({ verdict: { intact: true }, unsigned: 0 });
    file.close();
  });

  const harms: Record<string, { readonly sql: string; readonly fault: string; readonly atStart?: false }> = {
    'with rows cut out behind the mark': {
      sql: 'DELETE FROM events WHERE position BETWEEN 601 AND 700',
      fault: 'MISSING',
    },
    'with rows cut out and the mark moved behind them': {
      sql: `DELETE FROM events WHERE position BETWEEN 601 AND 700;
        UPDATE flushed SET sequence = 700, hash = (SELECT previous_hash FROM events WHERE position = 701)`,
      fault: 'SIGNATURE',
    },
    'with the mark taken out': { sql: 'DELETE FROM flushed', fault: 'MISSING' },
    'with a mark behind its end': { sql: 'DELETE FROM events WHERE position > 590', fault: 'TRUNCATED' },
    'with a mark that says that less was anchored': { sql: 'UPDATE flushed SET anchored = 1', fault: 'SIGNATURE' },
    'with a first row that was altered': {
      sql: "UPDATE events SET record = x'00' WHERE position = 601",
      fault: 'EDITED',
      atStart: false,
    },
    'with a first row that was exchanged': {
      sql: 'UPDATE events SET previous_hash = zeroblob(32) WHERE position = 601',
      fault: 'EDITED',
    },
  };
  for (const [name, { sql, fault, atStart }] of Object.entries(harms))
    it(`${name} does not verify${atStart === false ? '' : ', and is set aside at the next start'}`, () => {
      const { bench, file } = partlyFlushed();
      file.close();
      edit(bench.path, sql);
      expect(verifyFile(bench.path).verdict).toMatchObject({ intact: false, fault });
      if (atStart === false) return;
      const again = bench.openFlushed();
      expect(bench.damages).toHaveLength(1);
      expect(again.verify('').intact).toBe(true);
      again.close();
    });

  it('with the mark and the rows of an older copy is no older than its anchor says', () => {
    const { bench, file } = partlyFlushed();
    file.close();
    const old = bench.copy();
    const again = bench.openFlushed();
    writeEvents(bench, again, 300);
    flushRows(again, 2_000);
    releaseAll(again);
    again.close();
    rmSync(bench.path);
    copyFileSync(old, bench.path);
    expect(verifyFile(bench.path).verdict).toMatchObject({ intact: false, fault: 'TRUNCATED' });
  });
});

describe('what central storage knows', () => {
  it('agrees with a file that has the same row, or more', () => {
    const { bench, file, flushed } = partlyFlushed();
    expect(file.agree(flushed)).toBe('agrees');
    const [next] = file.waitingRows(0, 1);
    if (!next) throw new Error('nothing waits');
    // The word that this row was stored was lost.
    expect(file.agree(next)).toBe('agrees');
    expect(file.status().flushedSequence).toBe(601);
    expect(bench.damages).toEqual([]);
    file.close();
  });

  const setAside = (bench: AuditBench) => readdirSync(bench.folder).filter((name) => name.includes('.damaged-'));

  it('sets an older copy aside and begins a chain that links to what is central', () => {
    const { bench, file } = partlyFlushed();
    const before = file.head();
    const central = { ...file.chainHead(), sequence: before.sequence + 50, hash: new Uint8Array(32).fill(7) };
    expect(file.agree(central)).toBe('rolled-back');
    expect(bench.damages).toMatchObject([{ fault: 'TRUNCATED', parentChainId: before.chainId }]);
    expect(setAside(bench)).toHaveLength(1);
    expect(file.head().chainId).not.toBe(before.chainId);
    expect(file.head().position).toBeGreaterThan(before.position + 50);
    expect(file.query({ types: ['audit.chain_damaged'] }, 1)).toMatchObject([
      { reason: 'TRUNCATED', outcome: 'FAILED' },
    ]);
    expect(file.backlogOf(file.waitingRows(0, 10)).chains).toMatchObject([
      { parentChainId: before.chainId, parentHeadHash: central.hash, beginReason: 'recovered' },
    ]);
    writeEvents(bench, file, 5);
    expect(file.verify('').intact).toBe(true);
    expect(file.agree({ ...file.chainHead(), sequence: 0, hash: new Uint8Array() })).toBe('agrees');
    const { position } = file.head();
    file.close();
    const again = bench.openFlushed({ knownPosition: position });
    expect(bench.damages).toHaveLength(1);
    again.close();
  });

  it('sets a file aside that has another row under the same number', () => {
    const { bench, file } = partlyFlushed();
    const { chainId } = file.head();
    const fork = { chainId, sequence: 800, hash: new Uint8Array(32).fill(7) };
    expect(file.agree(fork)).toBe('forked');
    expect(bench.damages).toMatchObject([{ fault: 'FORKED', parentChainId: chainId }]);
    expect(setAside(bench)).toHaveLength(1);
    expect(file.status()).toMatchObject({ flushedSequence: 0, anchoredSequence: 0, writable: true });
    file.close();
  });

  it('brings back what it has lost, as far as that is still here', () => {
    const { bench, file } = partlyFlushed();
    const rows = file.waitingRows(0, 200);
    const middle = rows[99];
    flushRows(file, 200);
    if (!middle) throw new Error('nothing waits');
    expect(file.agree(middle)).toBe('central-behind');
    expect(file.waitingRows(0, 1)).toMatchObject([{ sequence: 701 }]);
    expect(file.agree({ ...middle, sequence: 300, hash: new Uint8Array(32) })).toBe('central-behind');
    expect(file.waitingRows(0, 1)).toMatchObject([{ sequence: 601 }]);
    expect(file.verify('').intact).toBe(true);
    file.close();
    expect(verifyFile(bench.path).verdict.intact).toBe(true);
    expect(bench.damages).toEqual([]);
  });
});

describe('a file of the layout before', () => {
  it('is verified as it is, and brought up to date by the next start', () => {
    const bench = auditBench();
    const file = bench.open();
    writeEvents(bench, file, 50);
    const head = file.head();
    file.close();
    edit(bench.path, 'DROP TABLE flushed; PRAGMA user_version = 1');
    expect(verifyFile(bench.path)).toMatchObject({ verdict: { intact: true }, unsigned: 0 });
    const again = bench.openFlushed();
    expect(bench.damages).toEqual([]);
    expect(again.head()).toEqual(head);
    flushRows(again, 20);
    releaseAll(again);
    expect(again.verify('')).toMatchObject({ intact: true, rows: head.sequence - 20 });
    again.close();
    const embedded = bench.open();
    writeEvents(bench, embedded, 5);
    expect(embedded.verify('')).toMatchObject({ intact: true, rows: head.sequence - 15 });
    expect(embedded.status()).toMatchObject({ flushedSequence: embedded.head().sequence });
    embedded.close();
    expect(bench.damages).toEqual([]);
  });
});
