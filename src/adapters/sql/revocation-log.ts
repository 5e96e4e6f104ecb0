import type { EndReason, Revocation } from '#src/domain/session.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { Tx } from './executor.ts';
import { text, whole } from './row.ts';

export async function revocationsAfter(
  tx: Tx,
  realm: string,
  position: number,
  limit: number,
): Promise<{ readonly entries: readonly Revocation[]; readonly oldest: number; readonly head: number }> {
  const [mark] = await tx.all('SELECT head, trimmed FROM revocation_heads WHERE realm = $1', realm);
  if (!mark) return { entries: [], oldest: 1, head: 0 };
  const rows = await tx.all(
    'SELECT * FROM revocations WHERE realm = $1 AND position > $2 ORDER BY position LIMIT $3',
    realm,
    position,
    limit,
  );
  const entries = rows.map((row) => ({
    position: whole(row, 'position'),
    realm,
    sessionId: text(row, 'session_id'),
    subject: text(row, 'subject'),
    reason: text(row, 'reason') as EndReason,
    endedAt: whole(row, 'ended_at'),
  }));
  return { entries, oldest: whole(mark, 'trimmed') + 1, head: whole(mark, 'head') };
}

/** Forgets the oldest entries of each realm up to the first that is not from before `before`, so no gap appears. */
export async function trimRevocations(tx: Tx, before: EpochMs, limit: number): Promise<number> {
  let gone = 0;
  for (const mark of await tx.all('SELECT realm, trimmed FROM revocation_heads ORDER BY realm')) {
    const realm = text(mark, 'realm');
    const oldest = await tx.all(
      'SELECT position, ended_at FROM revocations WHERE realm = $1 ORDER BY position LIMIT $2',
      realm,
      limit - gone,
    );
    const kept = oldest.findIndex((row) => whole(row, 'ended_at') >= before);
    const last = oldest[(kept === -1 ? oldest.length : kept) - 1];
    if (!last) continue;
    const trimmed = whole(last, 'position');
    gone += await tx.run('DELETE FROM revocations WHERE realm = $1 AND position <= $2', realm, trimmed);
    await tx.run('UPDATE revocation_heads SET trimmed = $2 WHERE realm = $1', realm, trimmed);
  }
  return gone;
}
