import type { Database } from 'better-sqlite3';
import { ChainSource } from './chain-source.ts';
import type { SubjectKeys } from './contract.ts';
import { EventReader } from './reader.ts';
import { rowInserter } from './row.ts';

export type PreparedStatements = ReturnType<typeof prepareStatements>;

/** Everything the writer prepares on one connection. */
export function prepareStatements(db: Database, subjectKeys: SubjectKeys) {
  const size = db.prepare<[], { used: number }>(
    'SELECT (page_count - freelist_count) * page_size AS used FROM pragma_page_count, pragma_freelist_count, pragma_page_size',
  );
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
    usedBytes: () => size.get()?.used ?? 0,
    firstPosition: () => first.get()?.first ?? 0,
  };
}
