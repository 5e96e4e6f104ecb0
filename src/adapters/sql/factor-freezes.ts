import type { FreezeReason } from '#src/domain/factor.ts';
import type { Method } from '#src/domain/method.ts';
import { paramsOf } from './batches.ts';
import type { Tx } from './executor.ts';

/** Which factors of a person. */
export interface FreezeRows {
  readonly realm: string;
  readonly subject: string;
  readonly methods: readonly Method[];
  /** This one alone. */
  readonly factorId?: string;
  readonly reason: FreezeReason;
}

/**
 * Freezes active factors; answers how many changed. The person's own report weighs more than any other reason; that a
 * consent is missing is found again among the consents when the report is settled.
 */
export async function freezeFactors(tx: Tx, rows: FreezeRows): Promise<number> {
  if (rows.methods.length === 0) return 0;
  const from = rows.reason === 'NOT_ME' ? `COALESCE(freeze_reason, '') <> $3` : 'freeze_reason IS NULL';
  return await tx.run(
    `UPDATE factors SET freeze_reason = $3 WHERE ${meant(rows)} AND state = 'ACTIVE' AND ${from}`,
    ...paramsFor(rows),
  );
}

/**
 * Thaws what this reason froze; answers how many prove something again. Where the person has withdrawn the consent to the
 * method meanwhile, the factor stays frozen for that reason.
 */
export async function thawFactors(tx: Tx, rows: FreezeRows): Promise<number> {
  if (rows.methods.length === 0) return 0;
  const consent = `SELECT 1 FROM consents
    WHERE consents.realm = $1 AND consents.subject = $2 AND consents.method = factors.method`;
  await tx.run(
    `UPDATE factors SET freeze_reason = 'CONSENT_WITHDRAWN'
     WHERE ${meant(rows)} AND freeze_reason = $3
       AND EXISTS (${consent}) AND NOT EXISTS (${consent} AND consents.withdrawn_at IS NULL)`,
    ...paramsFor(rows),
  );
  return await tx.run(
    `UPDATE factors SET freeze_reason = NULL
     WHERE ${meant(rows)} AND freeze_reason = $3
       AND NOT (EXISTS (${consent}) AND NOT EXISTS (${consent} AND consents.withdrawn_at IS NULL))`,
    ...paramsFor(rows),
  );
}

function meant({ methods, factorId }: FreezeRows): string {
  const one = factorId === undefined ? '' : ` AND id = $${methods.length + 4}`;
  return `realm = $1 AND subject = $2 AND method IN (${paramsOf(methods.length, 4)})${one}`;
}

function paramsFor({ realm, subject, reason, methods, factorId }: FreezeRows): readonly string[] {
  return [realm, subject, reason, ...methods, ...(factorId === undefined ? [] : [factorId])];
}
