import type { Challenge, ChallengeState, Delivery, MethodOffer } from '#src/domain/challenge.ts';
import { isTerminal } from '#src/domain/challenge.ts';
import type { Method } from '#src/domain/method.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { Row, Tx } from './executor.ts';
import { json, optionalJson, optionalText, optionalWhole, orNull, present, text, whole } from './row.ts';

export function challengeOf(row: Row): Challenge {
  return {
    id: text(row, 'id'),
    realm: text(row, 'realm'),
    subject: text(row, 'subject'),
    sessionId: text(row, 'session_id'),
    openedBy: text(row, 'opened_by'),
    purpose: text(row, 'purpose') as Challenge['purpose'],
    action: {
      resource: text(row, 'resource'),
      action: text(row, 'action'),
      details: new Map(json(row, 'details') as [string, string][]),
    },
    actionDigest: text(row, 'action_digest'),
    sensitivity: text(row, 'sensitivity') as Challenge['sensitivity'],
    audience: text(row, 'audience'),
    state: text(row, 'state') as ChallengeState,
    offers: json(row, 'offers') as MethodOffer[],
    policyRule: text(row, 'policy_rule'),
    createdAt: whole(row, 'created_at'),
    expiresAt: whole(row, 'expires_at'),
    ...present({
      approvalReason: optionalText(row, 'approval_reason') as Challenge['approvalReason'],
      chosenMethod: optionalText(row, 'chosen_method') as Method | undefined,
      provenMethod: optionalText(row, 'proven_method') as Method | undefined,
      provenFactorId: optionalText(row, 'proven_factor_id'),
      delivery: optionalJson(row, 'delivery') as Delivery | undefined,
      language: optionalText(row, 'language'),
      settledAt: optionalWhole(row, 'settled_at'),
      receiptId: optionalText(row, 'receipt_id'),
      receiptExpiresAt: optionalWhole(row, 'receipt_expires_at'),
    }),
  };
}

export async function readChallenge(
  reader: Pick<Tx, 'all'>,
  realm: string,
  id: string,
): Promise<Challenge | undefined> {
  const [row] = await reader.all('SELECT * FROM challenges WHERE id = $1 AND realm = $2', id, realm);
  return row && challengeOf(row);
}

export async function insertChallenge(tx: Tx, challenge: Challenge): Promise<void> {
  const settledAt = challenge.settledAt ?? (isTerminal(challenge.state) ? challenge.createdAt : undefined);
  await tx.run(
    `INSERT INTO challenges (
       id, realm, subject, session_id, opened_by, purpose, resource, action, details, action_digest, sensitivity,
       audience, state, approval_reason, offers, chosen_method, proven_method, proven_factor_id, policy_rule,
       created_at, expires_at, settled_at, receipt_id, receipt_expires_at,
       delivery, language
     ) VALUES (
       $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
       $25, $26
     )`,
    challenge.id,
    challenge.realm,
    challenge.subject,
    challenge.sessionId,
    challenge.openedBy,
    challenge.purpose,
    challenge.action.resource,
    challenge.action.action,
    JSON.stringify([...challenge.action.details]),
    challenge.actionDigest,
    challenge.sensitivity,
    challenge.audience,
    challenge.state,
    orNull(challenge.approvalReason),
    JSON.stringify(challenge.offers),
    orNull(challenge.chosenMethod),
    orNull(challenge.provenMethod),
    orNull(challenge.provenFactorId),
    challenge.policyRule,
    challenge.createdAt,
    challenge.expiresAt,
    orNull(settledAt),
    orNull(challenge.receiptId),
    orNull(challenge.receiptExpiresAt),
    challenge.delivery ? JSON.stringify(challenge.delivery) : null,
    orNull(challenge.language),
  );
}

/** Ends what is open of a person. */
export async function cancelChallenges(tx: Tx, realm: string, subject: string, now: EpochMs): Promise<void> {
  await tx.run(
    `UPDATE challenges SET state = 'CANCELLED', settled_at = $3
     WHERE realm = $1 AND subject = $2 AND settled_at IS NULL AND expires_at > $3`,
    realm,
    subject,
    now,
  );
}
