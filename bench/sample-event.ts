import type { EventDraft } from '../src/domain/audit-event.ts';

const PERSONS = 1_000;

/** An event of the middling kind: a person, an address, an agent and some facts. */
export function sampleEvent(id: string, number: number): EventDraft {
  return {
    id,
    type: 'session.created',
    at: Date.now(),
    realm: 'default',
    subject: `person-${number % PERSONS}`,
    outcome: 'SUCCESS',
    caller: 'checkout',
    correlationId: `0c5d1m7w-${number.toString(36)}`,
    sessionId: 'ses_06f1xkqzj4v8c2m5n7p9r3t1w0y',
    ipAddress: '203.0.113.7',
    userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
    facts: { country: 'NL', evicted: '0' },
  };
}
