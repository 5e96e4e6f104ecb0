import type { EventCommit, EventsTaken } from '#src/adapters/audit/contract.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import type { AuditLog } from '#src/ports/audit.ts';

/** What became of the events of one unit. */
export interface TakenEvents {
  readonly events: readonly EventDraft[];
  state: 'taken' | 'confirmed' | 'revoked';
}

/** A trail in memory, with what units took, confirmed and revoked. Only confirmed events are found. */
export class MemoryTrail implements EventCommit {
  readonly taken: TakenEvents[] = [];
  /** Thrown by `take` while set. */
  failure: Error | undefined;
  /** While set, `take` waits for it. */
  hold: Promise<void> | undefined;
  /** Units that have all their statements behind them and came here. */
  asked = 0;

  async take(events: readonly EventDraft[]): Promise<EventsTaken> {
    this.asked += 1;
    await this.hold;
    await new Promise((resolve) => setImmediate(resolve));
    if (this.failure) throw this.failure;
    const entry: TakenEvents = { events, state: 'taken' };
    this.taken.push(entry);
    const settle = (state: 'confirmed' | 'revoked') => {
      if (entry.state !== 'taken') throw new Error(`events that were ${entry.state} are ${state}`);
      entry.state = state;
    };
    return { confirm: () => settle('confirmed'), revoke: async () => settle('revoked') };
  }

  /** What was confirmed, oldest first. */
  get events(): readonly EventDraft[] {
    return this.taken.filter(({ state }) => state === 'confirmed').flatMap(({ events }) => events);
  }

  query: AuditLog['query'] = async (filter, limit) =>
    this.events
      .map((event, position) => ({ ...STORED, ...event, facts: factsOf(event), position }))
      .filter((event) => filter.subject === undefined || event.subject === filter.subject)
      .filter((event) => filter.sessionId === undefined || event.sessionId === filter.sessionId)
      .filter((event) => filter.types === undefined || filter.types.includes(event.type))
      .toReversed()
      .slice(0, limit);
}

function factsOf({ facts = {} }: EventDraft): readonly { readonly key: string; readonly value: string }[] {
  return Object.entries(facts).map(([key, value]) => ({ key, value }));
}

const STORED = {
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
