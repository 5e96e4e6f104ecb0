import { type Budget, FRESH_BUDGET, WITHOUT_END } from '#src/domain/failure-budget.ts';
import type { Tx } from './executor.ts';
import { whole } from './row.ts';

/** The failure budget as one row per person; no row is a fresh budget. */

export async function readBudget(reader: Pick<Tx, 'all'>, realm: string, subject: string): Promise<Budget> {
  const [row] = await reader.all(
    'SELECT recent, consecutive, locked_until, hard_locked FROM attempts WHERE realm = $1 AND subject = $2',
    realm,
    subject,
  );
  if (!row) return FRESH_BUDGET;
  return {
    recent: whole(row, 'recent'),
    consecutive: whole(row, 'consecutive'),
    lockedUntil: whole(row, 'locked_until'),
    hardLocked: whole(row, 'hard_locked') === 1,
  };
}

export async function writeBudget(tx: Tx, realm: string, subject: string, budget: Budget): Promise<void> {
  await tx.run(
    `INSERT INTO attempts (realm, subject, recent, consecutive, locked_until, hard_locked)
     VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (realm, subject) DO UPDATE
       SET recent = excluded.recent, consecutive = excluded.consecutive,
           locked_until = excluded.locked_until, hard_locked = excluded.hard_locked`,
    realm,
    subject,
    budget.recent,
    budget.consecutive,
    budget.lockedUntil,
    budget.hardLocked ? 1 : 0,
  );
}

/** After a success; what the person's own word stopped stays stopped. */
export async function restoreBudget(tx: Tx, realm: string, subject: string): Promise<void> {
  await tx.run(
    'DELETE FROM attempts WHERE realm = $1 AND subject = $2 AND locked_until < $3',
    realm,
    subject,
    WITHOUT_END,
  );
}

/** An operator's act. */
export async function deleteBudget(tx: Tx, realm: string, subject: string): Promise<void> {
  await tx.run('DELETE FROM attempts WHERE realm = $1 AND subject = $2', realm, subject);
}
