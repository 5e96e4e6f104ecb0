import type { Database } from 'better-sqlite3';

/**
 * Brings all of the write-ahead log into the file and empties it: what was deleted stood there still, and in the file's own
 * pages it is overwritten with zeros (`secure_delete`). False when a reader was in the way.
 */
export function truncateLog(db: Database): boolean {
  const [result] = db.pragma('wal_checkpoint(TRUNCATE)') as { readonly busy: number }[];
  return result?.busy === 0;
}
