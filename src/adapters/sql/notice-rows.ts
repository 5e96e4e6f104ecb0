import type { EventDraft, EventType } from '#src/domain/audit-event.ts';
import type { Method } from '#src/domain/method.ts';
import { isNotable, type Notice } from '#src/domain/notice.ts';
import type { Row, Tx } from './executor.ts';
import { json, optionalText, orNull, present, text, whole } from './row.ts';

export function noticeOf(row: Row): Notice {
  return {
    id: text(row, 'id'),
    realm: text(row, 'realm'),
    subject: text(row, 'subject'),
    type: text(row, 'type') as EventType,
    at: whole(row, 'noted_at'),
    facts: json(row, 'facts') as Record<string, string>,
    ...present({ method: optionalText(row, 'method') as Method | undefined }),
  };
}

/** Notes what the person of each event has to be told. A notice has the id of its event, so that there is one of it. */
export async function insertNotices(tx: Pick<Tx, 'run'>, events: readonly EventDraft[]): Promise<void> {
  for (const event of events.filter(isNotable)) {
    await tx.run(
      `INSERT INTO notices (id, realm, subject, type, method, facts, noted_at, due_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (id) DO NOTHING`,
      event.id,
      event.realm,
      event.subject ?? '',
      event.type,
      orNull(event.method),
      JSON.stringify(event.facts ?? {}),
      event.at,
    );
  }
}
