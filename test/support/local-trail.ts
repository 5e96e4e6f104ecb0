import { type LocalTrail, type LocalTrailOptions, openLocalTrail } from '#src/adapters/local/trail-client.ts';
import { systemClock } from '#src/adapters/system.ts';
import type { EventDraft, EventType } from '#src/domain/audit-event.ts';
import type { EventPosition, StoredEvent } from '#src/ports/audit.ts';
import { SILENT, TEST_RING } from './local-stores.ts';
import { MemoryCentral } from './memory-central.ts';
import { eventOf } from './store-samples.ts';

/** A local trail with what tests do not care about filled in. */
export function openTestTrail(directory: string, options: Partial<LocalTrailOptions> = {}): Promise<LocalTrail> {
  return openLocalTrail({
    directory,
    keyRing: TEST_RING,
    maxAuditBytes: 1 << 28,
    maxAgeMs: 3_600_000,
    mode: 'buffered',
    subjectKeys: new MemoryCentral(),
    log: SILENT,
    onFatal: (error) => {
      throw error;
    },
    ...options,
  });
}

/** An event of this moment. */
export function presentEvent(type: EventType, fields: Partial<EventDraft> = {}): EventDraft {
  return eventOf(type, { at: systemClock.now(), ...fields });
}

/** The ids of all events that were named as uncertain. */
export async function namedUnconfirmed(trail: LocalTrail): Promise<readonly string[]> {
  const events = await trail.audit.query({ types: ['audit.unconfirmed'] }, 1_000);
  return events.flatMap(idsNamedBy);
}

export function idsNamedBy(event: StoredEvent & { readonly position?: EventPosition }): readonly string[] {
  return event.facts.filter(({ key }) => key.startsWith('event_ids_')).flatMap(({ value }) => value.split(','));
}
