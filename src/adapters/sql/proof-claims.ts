import type { Challenge } from '#src/domain/challenge.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { ProofClaim } from '#src/ports/challenge-store.ts';
import type { Tx } from './executor.ts';
import { useIssuedCode } from './issued-code-rows.ts';
import { whole } from './row.ts';

type Claim<K extends ProofClaim['kind']> = Extract<ProofClaim, { readonly kind: K }>;
type Owner = Pick<Challenge, 'id' | 'realm' | 'subject'>;

/**
 * Uses up a proof by one conditional statement, of a factor of this person that is active and not frozen. Undefined, with
 * nothing changed, if it cannot be used.
 */
export async function claimProof(
  tx: Tx,
  challenge: Owner,
  proof: ProofClaim,
  now: EpochMs,
): Promise<{ readonly codesLeft: number } | undefined> {
  switch (proof.kind) {
    case 'totp':
      return (await claimStep(tx, challenge, proof, now)) ? { codesLeft: 0 } : undefined;
    case 'issued':
      return (await claimIssued(tx, challenge, proof, now)) ? { codesLeft: 0 } : undefined;
    case 'webauthn':
      return (await claimCounter(tx, challenge, proof, now)) ? { codesLeft: 0 } : undefined;
    case 'backup_code':
      return (await spendCode(tx, challenge, proof, now)) ? { codesLeft: await codesLeft(tx, proof) } : undefined;
  }
}

/** A factor `$1` of the person `$2`, `$3` that proves something now. */
const USABLE = `id = $1 AND realm = $2 AND subject = $3 AND state = 'ACTIVE' AND freeze_reason IS NULL`;

function ownerOf({ realm, subject }: Owner, { factorId }: ProofClaim): readonly [string, string, string] {
  return [factorId, realm, subject];
}

/** A step above the last accepted one (RFC 6238 section 5.2). */
async function claimStep(tx: Tx, owner: Owner, proof: Claim<'totp'>, now: EpochMs): Promise<boolean> {
  const claimed = await tx.run(
    `UPDATE factors SET last_step = $4, drift_steps = $5, last_used_at = $6
     WHERE ${USABLE} AND method = 'totp' AND last_step < $4`,
    ...ownerOf(owner, proof),
    proof.step,
    proof.driftSteps,
    now,
  );
  return claimed === 1;
}

/** The newest code of this challenge, which is gone then. */
async function claimIssued(tx: Tx, owner: Owner, proof: Claim<'issued'>, now: EpochMs): Promise<boolean> {
  const { id: bearerId, realm, subject } = owner;
  const { factorId, method, digest } = proof;
  const code = { bearerId, realm, subject, factorId, method, digest };
  return (await useIssuedCode(tx, code, 'ACTIVE', now)) && (await touch(tx, owner, proof, now));
}

/**
 * A counter that grew, or one that never counts (W3C WebAuthn section 7.2, step 22). The highest one seen is kept, so that
 * of two copies of a key the one behind goes on to show.
 */
async function claimCounter(tx: Tx, owner: Owner, proof: Claim<'webauthn'>, now: EpochMs): Promise<boolean> {
  const claimed = await tx.run(
    `UPDATE factors SET sign_count = CASE WHEN sign_count < $4 THEN $4 ELSE sign_count END, last_used_at = $5
     WHERE ${USABLE} AND method = 'webauthn'
       ${proof.anyCounter ? '' : 'AND (sign_count < $4 OR (sign_count = 0 AND $4 = 0))'}`,
    ...ownerOf(owner, proof),
    proof.signCount,
    now,
  );
  return claimed === 1;
}

async function spendCode(tx: Tx, owner: Owner, proof: Claim<'backup_code'>, now: EpochMs): Promise<boolean> {
  const spent = await tx.run(
    `UPDATE backup_codes SET spent_at = $5
     WHERE id = $4 AND factor_id = $1 AND spent_at IS NULL
       AND EXISTS (SELECT 1 FROM factors WHERE ${USABLE} AND method = 'backup_code')`,
    ...ownerOf(owner, proof),
    proof.codeId,
    now,
  );
  return spent === 1 && (await touch(tx, owner, proof, now));
}

async function touch(tx: Tx, owner: Owner, proof: ProofClaim, now: EpochMs): Promise<boolean> {
  return (await tx.run(`UPDATE factors SET last_used_at = $4 WHERE ${USABLE}`, ...ownerOf(owner, proof), now)) === 1;
}

async function codesLeft(tx: Tx, { factorId }: Claim<'backup_code'>): Promise<number> {
  const [row] = await tx.all(
    'SELECT COUNT(*) AS left_over FROM backup_codes WHERE factor_id = $1 AND spent_at IS NULL',
    factorId,
  );
  return row ? whole(row, 'left_over') : 0;
}
