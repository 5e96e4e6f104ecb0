import type { Database } from 'better-sqlite3';
import { ChainSource } from './chain-source.ts';
import type { SubjectKeys } from './contract.ts';
import { EventReader } from './reader.ts';
import { rowInserter } from './row.ts';

export type PreparedStatements = ReturnType<typeof prepareStatements>;

/** Everything the writer prepares on one connection. */
export function prepareStatements(db: Database, subjectKeys: SubjectKeys) {
  const pageSize = Number(db.pragma('page_size', { simple: true }));
  // Nothing but a stashed key is ever deleted, so free pages do not count.
  const pages = db.prepare<[], { page_count: number }>('PRAGMA page_count');
  const first = db.prepare<[], { first: number | null }>('SELECT min(position) AS first FROM events');
  return {
    begin: db.prepare('BEGIN IMMEDIATE'),
    commit: db.prepare('COMMIT'),
    undo: db.prepare('ROLLBACK'),
    insertRow: rowInserter(db),
    insertCheckpoint: db.prepare('INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)'),
    insertKey: db.prepare('INSERT OR IGNORE INTO stashed_keys VALUES (?, ?, ?)'),
    dropKeys: db.prepare('DELETE FROM stashed_keys WHERE position <= ?'),
    addKey: db.prepare('INSERT INTO checkpoint_keys VALUES (?, ?)'),
    stash: db.prepare<[], { ref: string; sealed: Uint8Array }>(
      'SELECT ref, sealed FROM stashed_keys ORDER BY position',
    ),
    recordsAfter: db.prepare<[number, number], { position: number; record: Uint8Array }>(
      'SELECT position, record FROM events WHERE position > ? ORDER BY position LIMIT ?',
    ),
    source: new ChainSource(db),
    reader: new EventReader(db, subjectKeys),
    usedBytes: () => (pages.get()?.page_count ?? 0) * pageSize,
    firstPosition: () => first.get()?.first ?? 0,
  };
}
