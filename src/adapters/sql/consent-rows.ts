import type { Consent } from '#src/domain/factor.ts';
import type { Method } from '#src/domain/method.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { Row, Tx } from './executor.ts';
import { optionalBytes, optionalWhole, orNull, present, text, whole } from './row.ts';

export function consentOf(row: Row): Consent {
  return {
    id: text(row, 'id'),
    method: text(row, 'method') as Method,
    textVersion: text(row, 'text_version'),
    language: text(row, 'language'),
    grantedAt: whole(row, 'granted_at'),
    ...present({
      withdrawnAt: optionalWhole(row, 'withdrawn_at'),
      sealedAddress: optionalBytes(row, 'sealed_address'),
    }),
  };
}

/** Stores a consent in place of the one that stands, which counts as withdrawn then. */
export async function insertConsent(tx: Tx, realm: string, subject: string, consent: Consent): Promise<void> {
  await withdrawStanding(tx, realm, subject, consent.method, consent.grantedAt);
  await tx.run(
    `INSERT INTO consents (id, realm, subject, method, text_version, language, granted_at, sealed_address)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
    consent.id,
    realm,
    subject,
    consent.method,
    consent.textVersion,
    consent.language,
    consent.grantedAt,
    orNull(consent.sealedAddress),
  );
}

/**
 * The consent that stood until now, the newest where a sidecar of the release before, which withdraws nothing, has left
 * several.
 */
export async function withdrawStanding(
  tx: Tx,
  realm: string,
  subject: string,
  method: Method,
  now: EpochMs,
): Promise<Consent | undefined> {
  const rows = await tx.all(
    `UPDATE consents SET withdrawn_at = $4
     WHERE realm = $1 AND subject = $2 AND method = $3 AND withdrawn_at IS NULL RETURNING *`,
    realm,
    subject,
    method,
    now,
  );
  return rows.map(consentOf).toSorted((a, b) => b.grantedAt - a.grantedAt)[0];
}

export async function hasStanding(tx: Tx, realm: string, subject: string, method: Method): Promise<boolean> {
  const [row] = await tx.all(
    'SELECT id FROM consents WHERE realm = $1 AND subject = $2 AND method = $3 AND withdrawn_at IS NULL LIMIT 1',
    realm,
    subject,
    method,
  );
  return row !== undefined;
}
