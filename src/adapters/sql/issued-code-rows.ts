import type { FactorState } from '#src/domain/factor.ts';
import type { Method } from '#src/domain/method.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { IssuedCode } from '#src/ports/issued-codes.ts';
import type { Row, Tx } from './executor.ts';
import { bytes, text, whole } from './row.ts';

/** One row for each bearer and method, so the newest is the only one. */
export async function putIssuedCode(tx: Pick<Tx, 'run'>, code: IssuedCode): Promise<void> {
  await tx.run(
    `INSERT INTO issued_codes (bearer_id, method, realm, subject, factor_id, digest, sealed, issued_at, expires_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
     ON CONFLICT (bearer_id, method) DO UPDATE
       SET realm = excluded.realm, subject = excluded.subject, factor_id = excluded.factor_id,
           digest = excluded.digest, sealed = excluded.sealed, issued_at = excluded.issued_at,
           expires_at = excluded.expires_at`,
    code.bearerId,
    code.method,
    code.realm,
    code.subject,
    code.factorId,
    code.digest,
    code.sealed,
    code.issuedAt,
    code.expiresAt,
  );
}

/**
 * Uses up a code by one conditional statement: it is the newest of its bearer and method, in time, of this person and
 * factor, and the factor is in this state and not frozen. What is compared is a keyed digest, so how long that takes says
 * nothing that helps with guessing.
 */
export async function useIssuedCode(
  tx: Pick<Tx, 'run'>,
  code: Pick<IssuedCode, 'bearerId' | 'method' | 'realm' | 'subject' | 'factorId' | 'digest'>,
  state: FactorState,
  now: EpochMs,
): Promise<boolean> {
  const used = await tx.run(
    `DELETE FROM issued_codes
     WHERE bearer_id = $1 AND method = $2 AND realm = $3 AND subject = $4 AND factor_id = $5 AND digest = $6
       AND expires_at > $7 AND EXISTS (
         SELECT 1 FROM factors
         WHERE id = $5 AND realm = $3 AND subject = $4 AND method = $2 AND state = $8 AND freeze_reason IS NULL
       )`,
    code.bearerId,
    code.method,
    code.realm,
    code.subject,
    code.factorId,
    code.digest,
    now,
    state,
  );
  return used === 1;
}

export function issuedCodeOf(row: Row): IssuedCode {
  return {
    realm: text(row, 'realm'),
    subject: text(row, 'subject'),
    bearerId: text(row, 'bearer_id'),
    method: text(row, 'method') as Method,
    factorId: text(row, 'factor_id'),
    digest: bytes(row, 'digest'),
    sealed: bytes(row, 'sealed'),
    issuedAt: whole(row, 'issued_at'),
    expiresAt: whole(row, 'expires_at'),
  };
}
