import type { EndReason, Revocation, SessionChange } from '#src/domain/session.ts';
import type { EpochMs } from '#src/domain/time.ts';
import { inBatches } from './batches.ts';
import type { Row, Tx } from './executor.ts';
import { optionalText, optionalWhole, present, text, whole } from './row.ts';

/**
 * The log of what became of sessions, one per realm. Ends are among the other changes and share their positions; the
 * revocation log is the ends alone.
 */

export interface LogPage<T> {
  readonly entries: readonly T[];
  /** The first position still kept. */
  readonly oldest: number;
  /** The newest position given out. */
  readonly head: number;
}

/**
 * Enters changes in their order. To be the last statements of a unit: the row of the head is locked from here until the
 * unit commits, which is what makes positions visible in their order, and what everybody else in the realm waits for.
 */
export async function appendChanges(
  tx: Tx,
  realm: string,
  changes: readonly Omit<SessionChange, 'position' | 'realm'>[],
): Promise<void> {
  if (changes.length === 0) return;
  const rows = changes.map((change, index) => [
    realm,
    // Back from the head.
    changes.length - 1 - index,
    change.sessionId,
    change.subject,
    change.endReason ?? null,
    change.at,
  ]);
  // None waits for the answer to another, so that the lock is held for one round trip less.
  await Promise.all([
    tx.run(
      `INSERT INTO session_change_heads (realm, head, trimmed) VALUES ($1, $2, 0)
       ON CONFLICT (realm) DO UPDATE SET head = session_change_heads.head + excluded.head`,
      realm,
      changes.length,
    ),
    ...[...inBatches(rows)].map((batch) =>
      tx.run(
        `INSERT INTO session_changes (realm, position, session_id, subject, end_reason, changed_at)
         VALUES ${batch.map((_, row) => entryOf(row)).join(', ')}`,
        ...batch.flat(),
      ),
    ),
  ]);
}

const COLUMNS = 6;

/** The parameters of one row, with its position reckoned from the head. */
function entryOf(row: number): string {
  const [realm, back, ...rest] = Array.from({ length: COLUMNS }, (_, column) => `$${row * COLUMNS + column + 1}`);
  const position = `(SELECT head FROM session_change_heads WHERE realm = ${realm}) - ${back}`;
  return `(${[realm, position, ...rest].join(', ')})`;
}

export async function revocationsAfter(
  reader: Pick<Tx, 'all'>,
  realm: string,
  position: number,
  limit: number,
): Promise<LogPage<Revocation>> {
  const { entries, ...page } = await readLog(reader, realm, position, limit, 'AND end_reason IS NOT NULL');
  return {
    ...page,
    entries: entries.map((row) => ({
      position: whole(row, 'position'),
      realm,
      sessionId: text(row, 'session_id'),
      subject: text(row, 'subject'),
      reason: text(row, 'end_reason') as EndReason,
      endedAt: whole(row, 'changed_at'),
    })),
  };
}

export async function changesAfter(
  reader: Pick<Tx, 'all'>,
  realm: string,
  position: number,
  limit: number,
): Promise<LogPage<SessionChange>> {
  const { entries, ...page } = await readLog(reader, realm, position, limit, '');
  return {
    ...page,
    entries: entries.map((row) => ({
      position: whole(row, 'position'),
      realm,
      sessionId: text(row, 'session_id'),
      subject: text(row, 'subject'),
      at: whole(row, 'changed_at'),
      ...present({ endReason: optionalText(row, 'end_reason') as EndReason | undefined }),
    })),
  };
}

/** One statement, so that head and entries are of one instant. */
async function readLog(
  reader: Pick<Tx, 'all'>,
  realm: string,
  position: number,
  limit: number,
  which: '' | 'AND end_reason IS NOT NULL',
): Promise<LogPage<Row>> {
  const rows = await reader.all(
    `SELECT heads.head, heads.trimmed, entries.* FROM session_change_heads AS heads LEFT JOIN (
       SELECT * FROM session_changes WHERE realm = $1 AND position > $2 ${which} ORDER BY position LIMIT $3
     ) AS entries ON entries.realm = heads.realm
     WHERE heads.realm = $1 ORDER BY entries.position`,
    realm,
    position,
    limit,
  );
  const [first] = rows;
  if (!first) return { entries: [], oldest: 1, head: 0 };
  const entries = rows.filter((row) => optionalWhole(row, 'position') !== undefined);
  return { entries, oldest: whole(first, 'trimmed') + 1, head: whole(first, 'head') };
}

/** Forgets the oldest entries of each realm up to the first that is not from before `before`, so no gap appears. */
export async function trimChanges(tx: Tx, before: EpochMs, limit: number): Promise<number> {
  let gone = 0;
  const trimmed: [realm: string, position: number][] = [];
  for (const mark of await tx.all('SELECT realm FROM session_change_heads ORDER BY realm')) {
    const realm = text(mark, 'realm');
    const oldest = await tx.all(
      'SELECT position, changed_at FROM session_changes WHERE realm = $1 ORDER BY position LIMIT $2',
      realm,
      limit - gone,
    );
    const kept = oldest.findIndex((row) => whole(row, 'changed_at') >= before);
    const last = oldest[(kept === -1 ? oldest.length : kept) - 1];
    if (!last) continue;
    const position = whole(last, 'position');
    gone += await tx.run('DELETE FROM session_changes WHERE realm = $1 AND position <= $2', realm, position);
    trimmed.push([realm, position]);
  }
  // The heads last, as everywhere.
  for (const [realm, position] of trimmed) {
    await tx.run('UPDATE session_change_heads SET trimmed = $2 WHERE realm = $1', realm, position);
  }
  return gone;
}
