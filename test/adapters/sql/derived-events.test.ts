import { expect, it } from 'vitest';
import { eventOfSession } from '#src/adapters/sql/derived-events.ts';
import { isId } from '#src/domain/ids.ts';
import { eventOf, sessionOf } from '../../support/store-samples.ts';

it('derives the same event id from the same event and session, and another from any other', () => {
  const [template, other] = [eventOf('session.ended'), eventOf('session.ended')];
  const [session, twin] = [sessionOf(), sessionOf()];
  const event = eventOfSession(template, session);
  expect(isId('event', event.id)).toBe(true);
  expect(eventOfSession(template, session)).toEqual(event);
  expect(eventOfSession(template, twin).id).not.toBe(event.id);
  expect(eventOfSession(other, session).id).not.toBe(event.id);
  expect(event).toMatchObject({ subject: session.subject, sessionId: session.id, realm: session.realm });
});
