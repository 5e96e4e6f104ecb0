import type { EpochMs } from '#src/domain/time.ts';
import { paramsOf, roomAbove } from './batches.ts';
import type { Tx } from './executor.ts';
import { deleteFactor } from './factor-rows.ts';
import { text } from './row.ts';
import { appendChanges } from './session-change-log.ts';

/** Every row that is one person's, by table; what only belongs to such a row goes with it. */
const OWNED = ['attempts', 'consents', 'issued_codes', 'notices', 'temporary_passes', 'trusted_devices'] as const;

const IDS_AT_ONCE = 1_024;

/** Removes all factors with their codes; answers how many, sets of backup codes aside. */
export async function deleteFactors(tx: Tx, realm: string, subject: string): Promise<number> {
  const rows = await tx.all('SELECT id, method FROM factors WHERE realm = $1 AND subject = $2', realm, subject);
  for (const row of rows) await deleteFactor(tx, text(row, 'id'));
  return rows.filter((row) => text(row, 'method') !== 'backup_code').length;
}

/** Deletes what is kept of a person, but for sessions; answers how many factors. To be called alone with the person. */
export async function deletePerson(tx: Tx, realm: string, subject: string): Promise<number> {
  await deleteClaims(tx, realm, subject);
  const factors = await deleteFactors(tx, realm, subject);
  await tx.run('DELETE FROM challenges WHERE realm = $1 AND subject = $2', realm, subject);
  for (const table of OWNED) await tx.run(`DELETE FROM ${table} WHERE realm = $1 AND subject = $2`, realm, subject);
  return factors;
}

/**
 * Deletes the sessions of a person and takes the name out of the log of changes. To be the last of a unit. Somebody may
 * have made a session since the caller ended them all: it ends here, so that no copy of it outlives its row.
 */
export async function deleteSessions(tx: Tx, realm: string, subject: string, now: number): Promise<number> {
  const rows = await tx.all(
    'DELETE FROM sessions WHERE realm = $1 AND subject = $2 RETURNING id, ended_at',
    realm,
    subject,
  );
  await tx.run(`UPDATE session_changes SET subject = '' WHERE realm = $1 AND subject = $2`, realm, subject);
  const live = rows.filter((row) => row['ended_at'] === null);
  const ends = live.map((row) => ({ sessionId: text(row, 'id'), subject: '', endReason: 'ERASED', at: now }) as const);
  await appendChanges(tx, realm, ends);
  return live.length;
}

/** Whether the person with this mark was erased at `since` or later. */
export async function wasErased(tx: Pick<Tx, 'all'>, realm: string, mark: string, since: EpochMs): Promise<boolean> {
  const [row] = await tx.all(
    'SELECT position FROM erasures WHERE realm = $1 AND subject_ref = $2 AND erased_at >= $3 LIMIT 1',
    realm,
    mark,
    since,
  );
  return row !== undefined;
}

/**
 * Claims of requests say nothing of the person but what they answer again: the ids of a challenge or a receipt, found by
 * these. Other answers are sealed and lapse by themselves.
 */
async function deleteClaims(tx: Tx, realm: string, subject: string): Promise<void> {
  const rows = await tx.all(
    'SELECT id, receipt_id FROM challenges WHERE realm = $1 AND subject = $2 ORDER BY id',
    realm,
    subject,
  );
  const ids = rows.flatMap((row) => [row['id'], row['receipt_id']]).filter((id) => typeof id === 'string');
  // Nothing finds claims by what they answer, so each statement goes through all of them. No request answers '-'.
  for (let start = 0; start < ids.length; start += IDS_AT_ONCE) {
    const some = ids.slice(start, start + IDS_AT_ONCE);
    const seeds = [...some, ...Array.from({ length: roomAbove(some.length) }, () => '-')];
    await tx.run(
      `DELETE FROM request_claims WHERE seed IN (${paramsOf(seeds.length, 1)})`,
      ...seeds.map((seed) => Buffer.from(seed, 'utf8')),
    );
  }
}
