import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import SqliteDatabase from 'better-sqlite3';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChainSource } from '#src/adapters/audit/chain-source.ts';
import type { AuditFile } from '#src/adapters/audit/contract.ts';
import { rowHash } from '#src/adapters/audit/row-hash.ts';
import { type VerifyItem, verifyItems } from '#src/adapters/audit/verify.ts';
import { verifyFile } from '#src/adapters/audit/verify-file.ts';
import type { ExportItem } from '#src/ports/audit.ts';
import { type AuditBench, auditBench, writeEvents } from '../../support/audit-files.ts';

const ROWS = 40;

/** A closed file of 40 rows or so, with a few checkpoints on the way. */
function written(): { readonly bench: AuditBench; readonly rows: number } {
  const bench = auditBench();
  const file = bench.open();
  for (let batch = 0; file.head().sequence < ROWS; batch += 1) {
    writeEvents(bench, file, Math.min(6, ROWS - file.head().sequence));
    if (batch % 2 === 0) file.checkpoint(bench.clock.now());
  }
  file.close();
  return { bench, rows: ROWS };
}

function exported(file: AuditFile, range = { chainId: '', from: 0, to: 0 }): ExportItem[] {
  const items: ExportItem[] = [];
  let cursor: string | undefined = '';
  while (cursor !== undefined) {
    const page: { items: readonly ExportItem[]; next?: string } = file.exportPage(range, cursor);
    items.push(...page.items);
    cursor = page.next;
  }
  return items;
}

type Tamper = (db: SqliteDatabase.Database, row: number, other: number, seed: number) => void;
const BYTES = ['record', 'previous_hash', 'hash'] as const;

/** What each act does to the file, and the first row that is bad after it. */
const acts: Readonly<Record<string, { readonly act: Tamper; readonly bad: (row: number, other: number) => number }>> = {
  'a flipped bit': {
    act: (db, row, _other, seed) => {
      const column = BYTES[seed % BYTES.length] ?? 'record';
      const found = db
        .prepare<[number], { value: Buffer }>(`SELECT ${column} AS value FROM events WHERE position = ?`)
        .get(row);
      const value = Buffer.from(found?.value ?? []);
      const at = seed % value.length;
      value[at] = (value[at] ?? 0) ^ (1 << (seed % 8));
      db.prepare(`UPDATE events SET ${column} = ? WHERE position = ?`).run(value, row);
    },
    bad: (row) => row,
  },
  'an altered column': {
    act: (db, row, _other, seed) => {
      const columns = [
        'at = at + 1',
        "realm = 'x'",
        "type = 'x'",
        'outcome = 3 - outcome',
        'subject_tag = subject_tag + 1',
        'challenge_tag = challenge_tag + 1',
        'session_tag = session_tag + 1',
        'sequence = sequence + 1000',
      ];
      db.exec(`UPDATE events SET ${columns[seed % columns.length]} WHERE position = ${row}`);
    },
    bad: (row) => row,
  },
  'a moved last row': {
    act: (db) => db.exec(`UPDATE events SET position = position + 5 WHERE position = ${ROWS}`),
    bad: () => ROWS,
  },
  'a deleted row': { act: (db, row) => db.exec(`DELETE FROM events WHERE position = ${row}`), bad: (row) => row },
  'rows swapped with their numbers': {
    act: (db, row, other) =>
      db.exec(
        `UPDATE events SET position = -1 WHERE position = ${row}; UPDATE events SET position = ${row} WHERE position = ${other}; UPDATE events SET position = ${other} WHERE position = -1`,
      ),
    bad: (row, other) => Math.min(row, other),
  },
  'contents swapped under their numbers': {
    act: (db, row, other) =>
      db.exec(`CREATE TEMP TABLE t AS SELECT * FROM events WHERE position IN (${row}, ${other});
        UPDATE events SET record = (SELECT record FROM t WHERE t.position = ${row} + ${other} - events.position), previous_hash = (SELECT previous_hash FROM t WHERE t.position = ${row} + ${other} - events.position), hash = (SELECT hash FROM t WHERE t.position = ${row} + ${other} - events.position) WHERE position IN (${row}, ${other})`),
    bad: (row, other) => Math.min(row, other),
  },
  'a cut tail': { act: (db, row) => db.exec(`DELETE FROM events WHERE position >= ${row}`), bad: (row) => row },
  'a cut tail with its checkpoints': {
    act: (db, row) =>
      db.exec(`DELETE FROM events WHERE position >= ${row}; DELETE FROM checkpoints WHERE sequence >= ${row}`),
    bad: (row) => row,
  },
  'a row copied to the end': {
    act: (db, row) =>
      db.exec(
        `INSERT INTO events SELECT ${ROWS + 1}, chain, sequence, at, realm, type, outcome, subject_tag, challenge_tag, session_tag, previous_hash, record, hash FROM events WHERE position = ${row}`,
      ),
    bad: (row) => row,
  },
  'a row copied to the end under the next number': {
    act: (db, row) =>
      db.exec(
        `INSERT INTO events SELECT ${ROWS + 1}, chain, ${ROWS + 1}, at, realm, type, outcome, subject_tag, challenge_tag, session_tag, previous_hash, record, hash FROM events WHERE position = ${row}`,
      ),
    bad: () => ROWS + 1,
  },
  'a row put in between': {
    act: (db, row) =>
      db.exec(`UPDATE events SET position = -position - 1, sequence = sequence + 1 WHERE position >= ${row}; UPDATE events SET position = -position WHERE position < 0;
        INSERT INTO events SELECT ${row}, chain, ${row}, at, realm, type, outcome, subject_tag, challenge_tag, session_tag, previous_hash, record, hash FROM events WHERE position = ${row} + 1`),
    // The copy is good under its number; the rows pushed back are not.
    bad: (row) => row + 1,
  },
  'a forged row with everything after it made to fit': {
    act: (db, row) => {
      const rows = db
        .prepare<[number], { position: number; sequence: number; previous_hash: Buffer; record: Buffer }>(
          'SELECT * FROM events WHERE position >= ? ORDER BY position',
        )
        .all(row);
      const { id } = db.prepare<[], { id: string }>('SELECT chain_id AS id FROM chains').get() ?? { id: '' };
      const donor = db
        .prepare<[number], { record: Buffer }>('SELECT record FROM events WHERE position = ?')
        .get(row === 1 ? 2 : 1);
      let previous = rows[0]?.previous_hash ?? Buffer.alloc(0);
      for (const [index, found] of rows.entries()) {
        const record = index === 0 ? (donor?.record ?? found.record) : found.record;
        const hash = rowHash(id, found.sequence, previous, record);
        db.prepare('UPDATE events SET previous_hash = ?, record = ?, hash = ? WHERE position = ?').run(
          previous,
          record,
          hash,
          found.position,
        );
        previous = hash;
      }
    },
    // Signed heads bound how far a forger gets: columns of the donor row differ at once, else the next checkpoint does.
    bad: (row) => row,
  },
};

describe('verifying a file', () => {
  for (const [name, { act, bad }] of Object.entries(acts))
    it(`finds ${name} and names the first bad row`, () => {
      const { bench } = written();
      fc.assert(
        fc.property(
          fc.integer({ min: 1, max: ROWS }),
          fc.integer({ min: 1, max: ROWS }),
          fc.nat(),
          (row, other, seed) => {
            fc.pre(row !== other);
            const path = bench.copy();
            const db = new SqliteDatabase(path);
            act(db, row, other, seed);
            db.close();
            expect(verifyFile(path).verdict).toMatchObject({ intact: false, sequence: bad(row, other) });
          },
        ),
        { numRuns: 25 },
      );
    });

  it('says what kind of damage it is', () => {
    const { bench } = written();
    const kindAfter = (sql: string) => {
      const path = bench.copy();
      const db = new SqliteDatabase(path);
      db.exec(sql);
      db.close();
      const { verdict } = verifyFile(path);
      return verdict.intact ? 'intact' : `${verdict.fault} ${verdict.sequence}`;
    };
    expect(kindAfter('SELECT 1')).toBe('intact');
    expect(kindAfter("UPDATE events SET record = x'08' WHERE position = 9")).toBe('EDITED 9');
    expect(kindAfter('DELETE FROM events WHERE position = 9')).toBe('MISSING 9');
    expect(kindAfter('DELETE FROM events WHERE position < 4')).toBe('MISSING 1');
    expect(kindAfter('UPDATE events SET position = 99 WHERE position = 9')).toBe('REORDERED 9');
    expect(kindAfter('UPDATE events SET sequence = 99 WHERE position = 9')).toBe('EDITED 9');
    expect(kindAfter('UPDATE events SET sequence = 29 - sequence WHERE position IN (9, 20)')).toBe('REORDERED 9');
    expect(kindAfter('DELETE FROM events WHERE position > 30')).toBe('TRUNCATED 31');
    expect(kindAfter('DELETE FROM events')).toBe('TRUNCATED 1');
    expect(kindAfter('UPDATE checkpoints SET signature = zeroblob(64)')).toMatch(/^SIGNATURE /);
    expect(kindAfter('UPDATE checkpoint_keys SET public_key = zeroblob(32)')).toMatch(/^SIGNATURE /);
    expect(kindAfter('DELETE FROM checkpoint_keys')).toMatch(/^SIGNATURE /);
    expect(kindAfter("UPDATE chains SET begin_reason = 'recovered'")).toBe('LINK 1');
    expect(kindAfter("UPDATE chains SET parent_chain_id = 'chn_other'")).toBe('LINK 1');
    expect(kindAfter('DELETE FROM chains')).toMatch(/^(LINK|TRUNCATED) /);
    expect(kindAfter('DROP INDEX events_by_type')).toMatch(/^UNREADABLE /);
    expect(kindAfter('CREATE VIEW extra AS SELECT 1')).toMatch(/^UNREADABLE /);
  });

  it('finds a row appended with a fitting hash after a clean end', () => {
    const { bench } = written();
    const path = bench.copy();
    const db = new SqliteDatabase(path);
    const last = db.prepare<[], { hash: Buffer; record: Buffer }>('SELECT * FROM events ORDER BY position DESC').get();
    const { id } = db.prepare<[], { id: string }>('SELECT chain_id AS id FROM chains').get() ?? { id: '' };
    if (!last) throw new Error('no rows');
    const hash = rowHash(id, ROWS + 1, last.hash, last.record);
    db.prepare(
      `INSERT INTO events SELECT ${ROWS + 1}, chain, ${ROWS + 1}, at, realm, type, outcome, subject_tag, challenge_tag, session_tag, hash, record, ? FROM events WHERE position = ${ROWS}`,
    ).run(hash);
    db.close();
    expect(verifyFile(path).verdict).toMatchObject({ intact: false, fault: 'FORKED', sequence: ROWS + 1 });
  });

  it('finds an index that no longer shows every row', () => {
    const { bench } = written();
    const path = bench.copy();
    const db = new SqliteDatabase(path);
    db.unsafeMode(true);
    db.pragma('writable_schema = ON');
    db.exec(
      "UPDATE sqlite_master SET sql = replace(sql, 'WHERE subject_tag <> 0', 'WHERE subject_tag <> 0 AND position <> 20') WHERE name = 'events_by_subject'",
    );
    db.pragma('writable_schema = RESET');
    db.exec('REINDEX events_by_subject');
    db.pragma('writable_schema = ON');
    db.exec("UPDATE sqlite_master SET sql = replace(sql, ' AND position <> 20', '') WHERE name = 'events_by_subject'");
    db.close();
    expect(verifyFile(path).verdict).toMatchObject({ intact: false, fault: 'UNREADABLE' });
  });

  it('finds every flipped byte that holds something, wherever it is in the file', () => {
    const bench = auditBench();
    const file = bench.open();
    writeEvents(bench, file, ROWS);
    file.dropStashedKeys();
    writeEvents(bench, file, 1);
    file.close();
    const path = bench.copy();
    const whole = readFileSync(path);
    const db = new SqliteDatabase(path);
    const stash = db
      .prepare<[], { page: number }>("SELECT rootpage AS page FROM sqlite_master WHERE tbl_name = 'stashed_keys'")
      .all()
      .map(({ page }) => page - 1);
    db.close();
    const unseen: number[] = [];
    for (let at = 100; at < whole.length; at += 97) {
      // Stashed keys are gone, or else each is sealed by itself.
      if (whole[at] === 0 || stash.includes(Math.floor(at / 4096))) continue;
      const harmed = Buffer.from(whole);
      harmed[at] = (harmed[at] ?? 0) ^ 0xff;
      writeFileSync(path, harmed);
      if (verifyFile(path).verdict.intact) unseen.push(at);
    }
    expect(unseen).toEqual([]);
  });

  it('raises no alarm over a clean copy, also of a file that is being written', () => {
    const bench = auditBench();
    const file = bench.open();
    for (let round = 0; round < 20; round += 1) {
      writeEvents(bench, file, 1 + (round % 7));
      if (round % 3 === 0) file.checkpoint(bench.clock.now());
      expect(verifyFile(bench.path).verdict).toMatchObject({ intact: true, rows: file.head().sequence });
      expect(file.verify('')).toMatchObject({ intact: true, rows: file.head().sequence });
    }
    file.close();
    expect(verifyFile(bench.copy()).verdict.intact).toBe(true);
  });
});

describe('verifying an export', () => {
  it('finds every deleted, doubled, swapped and altered item', () => {
    const { bench } = written();
    const file = bench.open();
    const items = exported(file);
    file.close();
    expect(verifyItems(items)).toMatchObject({ intact: true, rows: ROWS });
    const rowAt = items.findIndex((item) => item.kind === 'row');
    fc.assert(
      fc.property(
        fc.integer({ min: rowAt, max: items.length - 1 }),
        fc.nat(),
        fc.constantFrom('delete', 'double', 'swap', 'edit', 'cut'),
        (at, seed, act) => {
          const harmed: VerifyItem[] = [...items];
          const [item] = harmed.slice(at);
          fc.pre(item?.kind === 'row');
          if (item?.kind !== 'row') return;
          const other = rowAt + (seed % (items.length - rowAt));
          if (act === 'delete') harmed.splice(at, 1);
          else if (act === 'double') harmed.splice(at, 0, item);
          else if (act === 'cut') harmed.length = at;
          else if (act === 'edit') {
            const record = Uint8Array.from(item.row.record);
            record[seed % record.length] = (record[seed % record.length] ?? 0) ^ 1;
            harmed[at] = { kind: 'row', row: { ...item.row, record } };
          } else {
            // A checkpoint may stand before its row or right behind it.
            fc.pre(other !== at && items[other]?.kind === 'row');
            [harmed[at], harmed[other]] = [harmed[other] ?? item, item];
          }
          const verdict = verifyItems(harmed);
          expect(verdict.intact).toBe(false);
          if (!verdict.intact && (act === 'delete' || act === 'edit' || act === 'double' || act === 'cut'))
            expect(verdict.sequence).toBe(item.row.sequence);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('accepts a stretch only when told that it is one', () => {
    const { bench } = written();
    const file = bench.open();
    const { chainId } = file.head();
    const items = exported(file, { chainId, from: 10, to: 30 });
    file.close();
    expect(items.filter(({ kind }) => kind === 'row')).toHaveLength(21);
    expect(verifyItems(items)).toMatchObject({ intact: false, fault: 'MISSING', sequence: 1 });
    expect(verifyItems(items, { partial: true })).toMatchObject({ intact: true, rows: 21 });
  });

  it('demands trusted keys when given some', () => {
    const { bench } = written();
    const file = bench.open();
    const items = exported(file);
    file.close();
    const key = items.find((item) => item.kind === 'key');
    if (key?.kind !== 'key') throw new Error('no key');
    expect(verifyItems(items, { trustedKeyIds: new Set([key.key.keyId]) }).intact).toBe(true);
    expect(verifyItems(items, { trustedKeyIds: new Set(['another']) })).toMatchObject({ fault: 'SIGNATURE' });
  });

  it('checks the link between chains when both are there', () => {
    const { bench } = written();
    const first = bench.open();
    const before = exported(first);
    first.close();
    rmSync(bench.path);
    const second = bench.open();
    const after = exported(second);
    second.close();
    expect(verifyItems([...before, ...after]).intact).toBe(true);
    const shorter = [...before.filter((item) => item.kind !== 'checkpoint')];
    shorter.pop();
    expect(verifyItems([...shorter, ...after])).toMatchObject({ fault: 'LINK' });
  });
});

it('reads the same items in pages of any database', () => {
  const { bench } = written();
  const db = new SqliteDatabase(bench.path, { readonly: true });
  const kinds = [...new ChainSource(db).items('', Number.MAX_SAFE_INTEGER)].map(({ kind }) => kind);
  db.close();
  expect(kinds.filter((kind) => kind === 'row')).toHaveLength(ROWS);
  expect(kinds.filter((kind) => kind === 'chain')).toHaveLength(1);
});
