import { type EpochMs, HOUR, isOver } from '#src/domain/time.ts';
import type { ReceiptBurn } from '#src/ports/intents.ts';
import type { Tx } from './executor.ts';

/** How long a spent id outlives its receipt, so that a clock that is off cannot bring the receipt back. */
const KEPT_AFTER_EXPIRY_MS = HOUR;

/**
 * Spends a receipt id: true exactly once, ever. The primary key decides between parallel calls. A receipt that has run
 * out counts as spent, since its id may have been collected.
 */
export async function burnReceipt(tx: Tx, realm: string, receipt: ReceiptBurn, now: EpochMs): Promise<boolean> {
  if (isOver(receipt.expiresAt, now)) return false;
  const burned = await tx.run(
    `INSERT INTO spent_receipts (receipt_id, realm, spent_at, expires_at) VALUES ($1, $2, $3, $4)
     ON CONFLICT (receipt_id) DO NOTHING`,
    receipt.receiptId,
    realm,
    now,
    receipt.expiresAt,
  );
  return burned === 1;
}

/**
 * Spends what was approved for a person and is not redeemed yet, all of it or what one factor has proven: somebody else may
 * have it in hand, and its proof does not count any more. Whoever verifies receipts offline does not see it.
 */
export async function burnReceiptsOf(
  tx: Tx,
  realm: string,
  subject: string,
  now: EpochMs,
  factorId?: string,
): Promise<void> {
  await tx.run(
    `INSERT INTO spent_receipts (receipt_id, realm, spent_at, expires_at)
     SELECT receipt_id, realm, CAST($3 AS BIGINT), receipt_expires_at FROM challenges
     WHERE realm = $1 AND subject = $2 AND receipt_id IS NOT NULL AND receipt_expires_at > $3
       ${factorId === undefined ? '' : 'AND proven_factor_id = $4'}
     ON CONFLICT (receipt_id) DO NOTHING`,
    realm,
    subject,
    now,
    ...(factorId === undefined ? [] : [factorId]),
  );
}

export async function purgeReceipts(tx: Tx, before: EpochMs, limit: number): Promise<number> {
  return await tx.run(
    `DELETE FROM spent_receipts
     WHERE receipt_id IN (SELECT receipt_id FROM spent_receipts WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`,
    before - KEPT_AFTER_EXPIRY_MS,
    limit,
  );
}
