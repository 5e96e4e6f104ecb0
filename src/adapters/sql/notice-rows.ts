import type { EventDraft, EventType } from '#src/domain/audit-event.ts';
import type { Method } from '#src/domain/method.ts';
import { isNotable, type Notice, toldFacts } from '#src/domain/notice.ts';
import type { Row, Tx } from './executor.ts';
import { bytes, json, optionalBytes, optionalText, orNull, present, text, whole } from './row.ts';

/** The number of an SMS factor that a unit took away. */
export type FormerNumber = NonNullable<Notice['formerNumber']> & Pick<Notice, 'realm' | 'subject'>;

/** Undefined for other factors, and for a number to which no message was to go any more. */
export function formerNumberOf(row: Row): FormerNumber | undefined {
  const reached = text(row, 'method') === 'sms' && text(row, 'state') === 'ACTIVE';
  if (!reached || row['freeze_reason'] === 'CONSENT_WITHDRAWN') return undefined;
  const sealedSecret = bytes(row, 'sealed_secret');
  return { realm: text(row, 'realm'), subject: text(row, 'subject'), factorId: text(row, 'id'), sealedSecret };
}

export function noticeOf(row: Row): Notice {
  const factorId = optionalText(row, 'former_factor');
  const sealedSecret = optionalBytes(row, 'former_number');
  const formerNumber = factorId !== undefined && sealedSecret !== undefined ? { factorId, sealedSecret } : undefined;
  return {
    id: text(row, 'id'),
    realm: text(row, 'realm'),
    subject: text(row, 'subject'),
    type: text(row, 'type') as EventType,
    at: whole(row, 'noted_at'),
    facts: json(row, 'facts') as Record<string, string>,
    ...present({ method: optionalText(row, 'method') as Method | undefined, formerNumber }),
  };
}

/**
 * Notes what the person of each event has to be told. A notice has the id of its event, so that there is one of it. `former`
 * is a number that goes with the change: whoever made the change may have chosen the new one.
 */
export async function insertNotices(
  tx: Pick<Tx, 'run'>,
  events: readonly EventDraft[],
  former?: FormerNumber,
): Promise<void> {
  for (const event of events.filter(isNotable)) {
    const own = former?.realm === event.realm && former.subject === event.subject ? former : undefined;
    await tx.run(
      `INSERT INTO notices (
         id, realm, subject, type, method, facts, noted_at, due_at, former_factor, former_number
       ) VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9) ON CONFLICT (id) DO NOTHING`,
      event.id,
      event.realm,
      event.subject ?? '',
      event.type,
      orNull(event.method),
      JSON.stringify(toldFacts(event)),
      event.at,
      orNull(own?.factorId),
      orNull(own?.sealedSecret),
    );
  }
}
