import type { EpochMs } from '#src/domain/time.ts';
import type { Repeat, RequestClaim } from '#src/ports/intents.ts';
import { type Tx, UnitConflict } from './executor.ts';
import { bytes, optionalWhole, orNull, text } from './row.ts';

/**
 * Request ids that took effect. A claim is looked up at the start of an intent and stored with its effect, in the same
 * unit. An outcome without effect (a limit, a spent receipt) stores none, so the same request may be tried again.
 */

interface KnownClaim {
  readonly fingerprint: string;
  readonly seed: Uint8Array;
  /** Undefined when the request was no attempt. */
  readonly approved: boolean | undefined;
}

/** The first answer again, or word that the id was used for another request; undefined for a new request. */
export async function repeatOf(
  reader: Pick<Tx, 'all'>,
  request: RequestClaim | undefined,
  now: EpochMs,
): Promise<Repeat | undefined> {
  const known = await findClaim(reader, request, now);
  return known && answerOf(known, request);
}

/** The same for a request that spends an attempt: the first answer says too whether the attempt was right. */
export async function attemptRepeatOf(
  tx: Tx,
  request: RequestClaim | undefined,
  now: EpochMs,
): Promise<
  | { readonly outcome: 'repeat'; readonly approved: boolean; readonly seed: Uint8Array }
  | { readonly outcome: 'reused' }
  | undefined
> {
  const known = await findClaim(tx, request, now);
  const answer = known && answerOf(known, request);
  return answer?.outcome === 'repeat' ? { ...answer, approved: known?.approved === true } : answer;
}

/** The same for a request whose attempt was noted and now turns out right: then it is no repeat. */
export async function confirmationRepeatOf(
  tx: Tx,
  request: RequestClaim | undefined,
  now: EpochMs,
): Promise<Repeat | undefined> {
  const known = await findClaim(tx, request, now);
  const answer = known && answerOf(known, request);
  return answer?.outcome === 'repeat' && known?.approved === false ? undefined : answer;
}

/** Takes the request id; a claim that ran out gives way. */
export async function storeClaim(tx: Tx, request: RequestClaim | undefined, now: EpochMs): Promise<void> {
  await insertClaim(tx, request, now, null);
}

/** Takes the request id for an attempt: refused, until an approval says otherwise. */
export async function storeAttempt(tx: Tx, request: RequestClaim | undefined, now: EpochMs): Promise<void> {
  await insertClaim(tx, request, now, 0);
}

/** Turns the noted refusal of a request into an approval, and changes its seed if there is a new one. */
export async function approveAttempt(tx: Tx, key: string | undefined, seed?: Uint8Array): Promise<void> {
  if (key === undefined) return;
  await tx.run('UPDATE request_claims SET approved = 1, seed = COALESCE($2, seed) WHERE key = $1', key, orNull(seed));
}

/** A confirmed request: its noted attempt turns right and takes this seed, or it is noted here for the first time. */
export async function noteConfirmation(tx: Tx, request: RequestClaim, now: EpochMs): Promise<void> {
  if (!(await findClaim(tx, request, now))) await insertClaim(tx, request, now, 0);
  await approveAttempt(tx, request.key, request.seed);
}

async function insertClaim(tx: Tx, request: RequestClaim | undefined, now: EpochMs, approved: 0 | null): Promise<void> {
  if (!request) return;
  const stored = await tx.run(
    `INSERT INTO request_claims (key, fingerprint, seed, approved, expires_at) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (key) DO UPDATE
       SET fingerprint = excluded.fingerprint, seed = excluded.seed, approved = excluded.approved,
           expires_at = excluded.expires_at
       WHERE request_claims.expires_at <= $6`,
    request.key,
    request.fingerprint,
    request.seed,
    approved,
    request.expiresAt,
    now,
  );
  // Whoever claimed it in the meantime was first: undo everything rather than act twice.
  if (stored !== 1) throw new UnitConflict('a request id was claimed twice');
}

async function findClaim(
  reader: Pick<Tx, 'all'>,
  request: RequestClaim | undefined,
  now: EpochMs,
): Promise<KnownClaim | undefined> {
  if (!request) return undefined;
  const [row] = await reader.all(
    'SELECT fingerprint, seed, approved FROM request_claims WHERE key = $1 AND expires_at > $2',
    request.key,
    now,
  );
  if (!row) return undefined;
  const approved = optionalWhole(row, 'approved');
  return {
    fingerprint: text(row, 'fingerprint'),
    seed: bytes(row, 'seed'),
    approved: approved === undefined ? undefined : approved === 1,
  };
}

function answerOf(known: KnownClaim, request: RequestClaim | undefined): Repeat {
  if (known.fingerprint !== request?.fingerprint) return { outcome: 'reused' };
  return { outcome: 'repeat', seed: known.seed };
}

export async function purgeClaims(tx: Tx, before: EpochMs, limit: number): Promise<number> {
  return await tx.run(
    `DELETE FROM request_claims
     WHERE key IN (SELECT key FROM request_claims WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)`,
    before,
    limit,
  );
}
