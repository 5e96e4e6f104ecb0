import type { EventFilter, StoredEvent } from '#src/ports/audit.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import { MemorySessionStore } from '../support/memory-session-store.ts';
import type { StoreFixture } from '../support/store-fixture.ts';
import { describeSessionStore } from './session-store.contract.ts';

// The fake that the services are tested on keeps the same contract as the real store.
describeSessionStore('the fake in memory', async () => fixtureOf(new MemorySessionStore()));

function fixtureOf(sessions: MemorySessionStore): StoreFixture {
  const query = async (filter: EventFilter): Promise<readonly (StoredEvent & { readonly position: number })[]> =>
    sessions.events
      .map((event, position) => ({ ...storedEvent, ...event, facts: [], position }))
      .filter((event) => filter.subject === undefined || event.subject === filter.subject)
      .filter((event) => filter.sessionId === undefined || event.sessionId === filter.sessionId)
      .toReversed();
  const burnReceipt: ChallengeStore['burnReceipt'] = async ({ receiptId }) => {
    sessions.spend(receiptId);
    return { outcome: 'burned' };
  };
  return {
    challenges: { ...missing<ChallengeStore>(), burnReceipt },
    attempts: missing(),
    factors: missing(),
    signingKeys: missing(),
    codes: missing(),
    ledger: missing(),
    devices: missing(),
    consents: missing(),
    subjects: missing(),
    records: missing(),
    notices: missing(),
    pushKeys: missing(),
    sessions,
    audit: { query },
    restart: async () => fixtureOf(sessions),
    close: async () => {},
  };
}

const storedEvent = {
  subject: '',
  subjectRef: '',
  reason: '',
  caller: '',
  correlationId: '',
  challengeId: '',
  sessionId: '',
  factorId: '',
  actionDigest: '',
  count: 1,
  ipAddress: '',
  userAgent: '',
  chainId: '',
  sequence: 0,
  hash: new Uint8Array(),
};

/** A port that this suite does not use. */
function missing<T extends object>(): T {
  return new Proxy({} as T, {
    get: () => {
      throw new Error('the session contract needs the session store alone');
    },
  });
}
