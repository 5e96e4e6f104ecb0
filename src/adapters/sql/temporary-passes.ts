import { isSameBytes } from '#src/domain/same-bytes.ts';
import { type EpochMs, isOver } from '#src/domain/time.ts';
import type { TemporaryPass } from '#src/ports/subject-store.ts';
import type { Tx } from './executor.ts';
import { bytes, whole } from './row.ts';

export async function readPass(
  reader: Pick<Tx, 'all'>,
  realm: string,
  subject: string,
): Promise<TemporaryPass | undefined> {
  const [row] = await reader.all(
    'SELECT digest, expires_at FROM temporary_passes WHERE realm = $1 AND subject = $2',
    realm,
    subject,
  );
  return row && { digest: bytes(row, 'digest'), expiresAt: whole(row, 'expires_at') };
}

/** In place of an older one. */
export async function putPass(tx: Tx, realm: string, subject: string, pass: TemporaryPass): Promise<void> {
  await tx.run(
    `INSERT INTO temporary_passes (realm, subject, digest, expires_at) VALUES ($1, $2, $3, $4)
     ON CONFLICT (realm, subject) DO UPDATE SET digest = excluded.digest, expires_at = excluded.expires_at`,
    realm,
    subject,
    pass.digest,
    pass.expiresAt,
  );
}

/** From here on no pass fits, and one is still needed: only another reset helps. */
export async function voidPass(tx: Tx, realm: string, subject: string): Promise<void> {
  await tx.run('UPDATE temporary_passes SET expires_at = 0 WHERE realm = $1 AND subject = $2', realm, subject);
}

export async function dropPass(tx: Tx, realm: string, subject: string): Promise<void> {
  await tx.run('DELETE FROM temporary_passes WHERE realm = $1 AND subject = $2', realm, subject);
}

/** What keeps a person without factors from a first enrolment; undefined if nothing does. */
export function passRefusal(
  standing: TemporaryPass | undefined,
  given: Uint8Array | undefined,
  now: EpochMs,
): 'pass_required' | 'pass_wrong' | undefined {
  if (!given) return standing && 'pass_required';
  if (!standing || isOver(standing.expiresAt, now)) return 'pass_wrong';
  return isSameBytes(given, standing.digest) ? undefined : 'pass_wrong';
}
