import type { EpochMs } from '#src/domain/time.ts';
import type { ProofClaim } from '#src/ports/challenge-store.ts';
import type { Tx } from './executor.ts';
import { whole } from './row.ts';

/**
 * Uses up a proof by one conditional statement: a TOTP step above the last accepted one (RFC 6238 section 5.2), or an
 * unspent backup code, of an active factor of this person. Undefined, with nothing changed, if it cannot be used.
 */
export async function claimProof(
  tx: Tx,
  realm: string,
  subject: string,
  proof: ProofClaim,
  now: EpochMs,
): Promise<{ readonly codesLeft: number } | undefined> {
  if (proof.kind === 'totp') {
    const claimed = await tx.run(
      `UPDATE factors SET last_step = $4, drift_steps = $5, last_used_at = $6
       WHERE id = $1 AND realm = $2 AND subject = $3 AND method = 'totp' AND state = 'ACTIVE' AND last_step < $4`,
      proof.factorId,
      realm,
      subject,
      proof.step,
      proof.driftSteps,
      now,
    );
    return claimed === 1 ? { codesLeft: 0 } : undefined;
  }
  const spent = await tx.run(
    `UPDATE backup_codes SET spent_at = $5
     WHERE id = $1 AND factor_id = $2 AND spent_at IS NULL AND EXISTS (
       SELECT 1 FROM factors
       WHERE id = $2 AND realm = $3 AND subject = $4 AND method = 'backup_code' AND state = 'ACTIVE'
     )`,
    proof.codeId,
    proof.factorId,
    realm,
    subject,
    now,
  );
  if (spent !== 1) return undefined;
  await tx.run('UPDATE factors SET last_used_at = $2 WHERE id = $1', proof.factorId, now);
  return { codesLeft: await codesLeft(tx, proof.factorId) };
}

async function codesLeft(tx: Tx, factorId: string): Promise<number> {
  const [row] = await tx.all(
    'SELECT COUNT(*) AS left_over FROM backup_codes WHERE factor_id = $1 AND spent_at IS NULL',
    factorId,
  );
  return row ? whole(row, 'left_over') : 0;
}
