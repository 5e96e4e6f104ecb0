import type { StoredEvent } from '../ports/audit.ts';

/** What one line shows of an event. */
export type ShownEvent = Omit<StoredEvent, 'hash'>;

/**
 * One event on one line: when, what, how it ended, then who and what is concerned. A person whose name cannot be read is
 * `~` and a pseudonym. Values were made plain before they were stored, so a terminal is safe.
 */
export function eventLine(event: ShownEvent): string {
  const { type, outcome, reason, realm, method, count, ipAddress, challengeId, sessionId, factorId, caller, facts } =
    event;
  const person = event.subject || (event.subjectRef && `~${event.subjectRef}`);
  const parts = [
    new Date(event.at).toISOString(),
    String(event.sequence).padStart(6),
    type.padEnd(24),
    outcome.padEnd(7),
    reason,
    realm && `${realm}/${person || '-'}`,
    method,
    count > 1 ? `×${count}` : '',
    ipAddress,
    challengeId,
    sessionId,
    factorId,
    caller && `by ${caller}`,
    ...facts.map(({ key, value }) => `${key}=${value}`),
  ];
  return `${parts.filter(Boolean).join(' ')}\n`;
}

/** The same as a line of JSON; absent values are left out. */
export function eventJson(event: ShownEvent): string {
  const { at, facts, ...rest } = event;
  const present = Object.entries(rest).filter(
    ([name, value]) => value !== '' && name !== 'hash' && name !== 'position',
  );
  const named = Object.fromEntries(facts.map(({ key, value }) => [key, value]));
  const line = {
    at: new Date(at).toISOString(),
    ...Object.fromEntries(present),
    ...(facts.length > 0 && { facts: named }),
  };
  return `${JSON.stringify(line)}\n`;
}
