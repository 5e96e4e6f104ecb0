import type { BackupCodeHash, Factor, FreezeReason } from '#src/domain/factor.ts';
import type { Method } from '#src/domain/method.ts';
import type { BackupCodeSet } from '#src/ports/factor-store.ts';
import { valuesOf } from './batches.ts';
import type { Row, Tx } from './executor.ts';
import { bytes, optionalBytes, optionalText, optionalWhole, orNull, present, text, whole } from './row.ts';

const SELECT_FACTOR = `
  SELECT factors.*, (
    SELECT COUNT(*) FROM backup_codes WHERE backup_codes.factor_id = factors.id AND backup_codes.spent_at IS NULL
  ) AS codes_left
  FROM factors`;

function factorOf(row: Row): Factor {
  const method = text(row, 'method') as Method;
  return {
    id: text(row, 'id'),
    realm: text(row, 'realm'),
    subject: text(row, 'subject'),
    method,
    displayName: text(row, 'display_name'),
    state: text(row, 'state') as Factor['state'],
    sealedSecret: bytes(row, 'sealed_secret'),
    lastStep: whole(row, 'last_step'),
    driftSteps: whole(row, 'drift_steps'),
    replaces: text(row, 'replaces'),
    createdAt: whole(row, 'created_at'),
    expiresAt: whole(row, 'expires_at'),
    codesLeft: whole(row, 'codes_left'),
    ...present({
      confirmedAt: optionalWhole(row, 'confirmed_at'),
      lastUsedAt: optionalWhole(row, 'last_used_at'),
      signCount: method === 'webauthn' ? whole(row, 'sign_count') : undefined,
      uniqueDigest: optionalBytes(row, 'unique_digest'),
      freezeReason: optionalText(row, 'freeze_reason') as FreezeReason | undefined,
    }),
  };
}

export async function readFactor(reader: Pick<Tx, 'all'>, realm: string, id: string): Promise<Factor | undefined> {
  const [row] = await reader.all(`${SELECT_FACTOR} WHERE id = $1 AND realm = $2`, id, realm);
  return row && factorOf(row);
}

/** All of a person's factors, oldest first, lapsed enrolments too. */
export async function listFactors(reader: Pick<Tx, 'all'>, realm: string, subject: string): Promise<readonly Factor[]> {
  const rows = await reader.all(
    `${SELECT_FACTOR} WHERE realm = $1 AND subject = $2 ORDER BY created_at, id`,
    realm,
    subject,
  );
  return rows.map(factorOf);
}

export async function insertFactor(tx: Tx, factor: Factor): Promise<void> {
  await tx.run(
    `INSERT INTO factors (
       id, realm, subject, method, display_name, state, sealed_secret, last_step, drift_steps, replaces, created_at,
       expires_at, confirmed_at, last_used_at, sign_count, unique_digest, freeze_reason
     ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)`,
    factor.id,
    factor.realm,
    factor.subject,
    factor.method,
    factor.displayName,
    factor.state,
    factor.sealedSecret,
    factor.lastStep,
    factor.driftSteps,
    factor.replaces,
    factor.createdAt,
    factor.expiresAt,
    orNull(factor.state === 'ACTIVE' ? (factor.confirmedAt ?? factor.createdAt) : undefined),
    orNull(factor.lastUsedAt),
    factor.signCount ?? 0,
    orNull(factor.uniqueDigest),
    orNull(factor.freezeReason),
  );
}

/** Whether an active factor has this digest, other than the one that is to go. */
export async function isTaken(
  tx: Tx,
  { realm, method }: Pick<Factor, 'realm' | 'method'>,
  uniqueDigest: Uint8Array | undefined,
  goingId: string,
): Promise<boolean> {
  if (!uniqueDigest) return false;
  const [row] = await tx.all(
    `SELECT id FROM factors
     WHERE realm = $1 AND method = $2 AND unique_digest = $3 AND state = 'ACTIVE' AND id <> $4`,
    realm,
    method,
    uniqueDigest,
    goingId,
  );
  return row !== undefined;
}

/** Deletes the factor with its codes, and what was issued to confirm it. The one way in which factors in use go. */
export async function deleteFactor(tx: Tx, id: string): Promise<void> {
  await tx.run('DELETE FROM issued_codes WHERE bearer_id = $1', id);
  await tx.run('DELETE FROM backup_codes WHERE factor_id = $1', id);
  const rows = await tx.all('DELETE FROM factors WHERE id = $1 RETURNING *', id);
  for (const row of rows) tx.factorGone?.(row);
}

/** Enrolments that nobody has confirmed; answers how many. */
export async function deletePending(
  tx: Tx,
  realm: string,
  subject: string,
  isMeant: (method: Method) => boolean = () => true,
): Promise<number> {
  const rows = await tx.all(
    `SELECT id, method FROM factors WHERE realm = $1 AND subject = $2 AND state = 'PENDING'`,
    realm,
    subject,
  );
  const going = rows.filter((row) => isMeant(text(row, 'method') as Method));
  for (const row of going) await deleteFactor(tx, text(row, 'id'));
  return going.length;
}

/** Stores a set of codes in place of the one the person has. */
export async function replaceCodeSet(tx: Tx, set: BackupCodeSet): Promise<void> {
  const old = await tx.all(
    `SELECT id FROM factors WHERE realm = $1 AND subject = $2 AND method = 'backup_code'`,
    set.factor.realm,
    set.factor.subject,
  );
  for (const row of old) await deleteFactor(tx, text(row, 'id'));
  await insertFactor(tx, set.factor);
  // Sets are all of one size, so this is one text.
  await tx.run(
    `INSERT INTO backup_codes (id, factor_id, selector, salt, hash) VALUES ${valuesOf(set.codes.length, 5)}`,
    ...set.codes.flatMap(({ id, selector, salt, hash }) => [id, set.factor.id, selector, salt, hash]),
  );
}

export async function findCode(
  reader: Pick<Tx, 'all'>,
  realm: string,
  subject: string,
  selector: string,
): Promise<(BackupCodeHash & { readonly factorId: string }) | undefined> {
  const [row] = await reader.all(
    `SELECT backup_codes.* FROM backup_codes JOIN factors ON factors.id = backup_codes.factor_id
     WHERE factors.realm = $1 AND factors.subject = $2 AND factors.method = 'backup_code' AND factors.state = 'ACTIVE'
       AND factors.freeze_reason IS NULL AND backup_codes.selector = $3 AND backup_codes.spent_at IS NULL`,
    realm,
    subject,
    selector,
  );
  if (!row) return undefined;
  return {
    id: text(row, 'id'),
    factorId: text(row, 'factor_id'),
    selector: text(row, 'selector'),
    salt: bytes(row, 'salt'),
    hash: bytes(row, 'hash'),
  };
}
