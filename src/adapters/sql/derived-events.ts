import { createHash } from 'node:crypto';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { newId } from '#src/domain/ids.ts';
import type { Session } from '#src/domain/session.ts';

/** The event of one session out of a template for many. Its id follows from both ids, so a retry gives the same event. */
export function eventOfSession(template: EventDraft, session: Session): EventDraft {
  const digest = createHash('sha256').update(`${template.id}\n${session.id}`).digest();
  return {
    ...template,
    id: newId('event', digest.subarray(0, 16)),
    realm: session.realm,
    subject: session.subject,
    sessionId: session.id,
  };
}
