import type { AuditFile } from '#src/adapters/audit/contract.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { newId } from '#src/domain/ids.ts';
import type { Random } from '#src/ports/runtime.ts';
import { writeAuditPosition } from './audit-position.ts';
import type { SqliteTransaction } from './sqlite-transaction.ts';
import type { SqliteSubjectKeys } from './subject-keys.ts';

/** A fact holds 512 bytes, an event id with its comma 31. */
const IDS_PER_FACT = 16;
const MAX_FACTS = 16;
export const MAX_NAMED = IDS_PER_FACT * MAX_FACTS;

export interface ReconciliationParts {
  readonly audit: AuditFile;
  readonly keys: SqliteSubjectKeys;
  readonly transaction: SqliteTransaction;
  readonly random: Random;
  readonly now: () => number;
}

/**
 * A crash or a failed commit of the state can only leave events without their effect. Names those after `confirmed`, the
 * last position known to be in the state, in one `audit.unconfirmed` event; answers how many there were. Throws when the
 * audit file cannot be written.
 */
export function nameUnconfirmed(parts: ReconciliationParts, confirmed: number): number {
  const { audit } = parts;
  // Staging nothing makes an audit file that failed look at itself anew, so that its head is certain.
  audit.stage([]);
  const events = effectsAfter(audit, confirmed);
  if (events.length > 0) {
    audit.stage([unconfirmedEvent(parts, events)]);
    audit.commit();
  }
  return events.length;
}

/**
 * Makes the state take over where the audit file stands, with the keys of persons that a lost commit took while events
 * use them. Throws when the state cannot be written.
 */
export function takeOver({ audit, keys, transaction }: ReconciliationParts): void {
  try {
    for (const key of audit.stashedKeys()) keys.restore(key);
    writeAuditPosition(transaction, audit.head());
    transaction.commit();
    keys.committed();
  } catch (error) {
    transaction.rollback();
    keys.rolledBack();
    throw error;
  }
  audit.dropStashedKeys();
}

/** The audit file notes its own checkpoint key, which has nothing to do with the state. */
export function effectsAfter(audit: AuditFile, confirmed: number): ReturnType<AuditFile['eventIdsAfter']> {
  const events = audit.eventIdsAfter(confirmed);
  if (!events.some(({ type }) => type === 'key.created')) return events;
  const created = audit.after({ types: ['key.created'] }, confirmed, events.length);
  const own = created.filter(({ facts }) => facts.some(({ key, value }) => key === 'use' && value === 'checkpoint'));
  const ids = new Set(own.map(({ id }) => id));
  return events.filter(({ id }) => !ids.has(id));
}

/** The event that says that what these claim is not certain; it has room for the ids of 256. */
export function unconfirmedEvent(
  { random, now }: Pick<ReconciliationParts, 'random' | 'now'>,
  events: readonly { readonly position: number; readonly id: string }[],
): EventDraft {
  const facts: Record<string, string> = {
    count: String(events.length),
    first_position: String(events[0]?.position ?? 0),
    last_position: String(events.at(-1)?.position ?? 0),
  };
  for (let fact = 0; fact < MAX_FACTS && fact * IDS_PER_FACT < events.length; fact += 1) {
    const ids = events.slice(fact * IDS_PER_FACT, (fact + 1) * IDS_PER_FACT).map(({ id }) => id);
    facts[`event_ids_${String(fact + 1).padStart(2, '0')}`] = ids.join(',');
  }
  return {
    id: newId('event', random.bytes(16)),
    type: 'audit.unconfirmed',
    at: now(),
    realm: '',
    outcome: 'FAILED',
    caller: 'sidecar',
    facts,
  };
}
