import type { Database } from 'better-sqlite3';
import { ChainSource, type KnownChain } from './chain-source.ts';
import type { SubjectKeys } from './contract.ts';
import { Outbox } from './outbox.ts';
import { EventReader } from './reader.ts';
import { rowInserter } from './row.ts';
import type { StashRow } from './stash.ts';

export type PreparedStatements = ReturnType<typeof prepareStatements>;

/** Everything the writer prepares on one connection. */
export function prepareStatements(db: Database, subjectKeys: SubjectKeys, chain: KnownChain) {
  const source = new ChainSource(db);
  const pageSize = Number(db.pragma('page_size', { simple: true }));
  const pages = db.prepare<[], { page_count: number }>('PRAGMA page_count');
  const free = db.prepare<[], { freelist_count: number }>('PRAGMA freelist_count');
  const first = db.prepare<[], { first: number | null }>('SELECT min(position) AS first FROM events');
  return {
    begin: db.prepare('BEGIN IMMEDIATE'),
    commit: db.prepare('COMMIT'),
    undo: db.prepare('ROLLBACK'),
    insertRow: rowInserter(db),
    insertCheckpoint: db.prepare('INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)'),
    insertKey: db.prepare('INSERT OR IGNORE INTO stashed_keys VALUES (?, ?, ?)'),
    dropKeys: db.prepare('DELETE FROM stashed_keys WHERE position <= ?'),
    dropKey: db.prepare('DELETE FROM stashed_keys WHERE ref = ?'),
    addKey: db.prepare('INSERT INTO checkpoint_keys VALUES (?, ?)'),
    stash: db.prepare<[], StashRow>('SELECT ref, sealed FROM stashed_keys ORDER BY position'),
    stashOf: db.prepare<[string], StashRow>('SELECT ref, sealed FROM stashed_keys WHERE ref = ?'),
    recordsAfter: db.prepare<[number, number, number], { position: number; record: Uint8Array }>(
      'SELECT position, record FROM events WHERE position > ? AND position <= ? ORDER BY position LIMIT ?',
    ),
    source,
    outbox: new Outbox(db, source, chain),
    reader: new EventReader(db, subjectKeys),
    /** Pages that deleted rows left behind are written anew before the file grows. */
    usedBytes: () => ((pages.get()?.page_count ?? 0) - (free.get()?.freelist_count ?? 0)) * pageSize,
    firstPosition: () => first.get()?.first ?? 0,
  };
}
