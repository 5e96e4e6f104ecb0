import SqliteDatabase from 'better-sqlite3';
import type { EventFilter } from '#src/ports/audit.ts';
import { EventReader, type PersonalKeys, type PositionedEvent } from './reader.ts';
import { schemaFault } from './schema.ts';
import { UnreadableError } from './verify.ts';

/** Opens nothing: persons stay pseudonyms. */
export const NO_KEYS: PersonalKeys = { find: () => undefined, findByRef: () => undefined };

/** An audit file to look at, also while a sidecar writes it. */
export interface TrailFile extends Disposable {
  head(): number;
  newest(filter: EventFilter, limit: number): readonly PositionedEvent[];
  after(filter: EventFilter, position: number, limit: number): readonly PositionedEvent[];
}

/** Throws UnreadableError when it is no audit file, and the error of SQLite when it cannot be reached. */
export function openTrailFile(path: string, keys: PersonalKeys): TrailFile {
  const db = new SqliteDatabase(path, { readonly: true, fileMustExist: true, timeout: 5_000 });
  try {
    const fault = schemaFault(db);
    if (fault !== undefined) throw new UnreadableError(fault);
    const reader = new EventReader(db, keys);
    const ends = db.prepare<[], { first: number | null; last: number | null }>(
      'SELECT min(position) AS first, max(position) AS last FROM events',
    );
    const first = () => ends.get()?.first ?? 1;
    const head = () => ends.get()?.last ?? 0;
    return {
      head,
      newest: (filter, limit) => reader.newest(filter, limit, first(), head() + 1),
      after: (filter, position, limit) => reader.oldest(filter, limit, Math.max(position, first() - 1), head()),
      [Symbol.dispose]: () => void db.close(),
    };
  } catch (error) {
    db.close();
    throw error;
  }
}
