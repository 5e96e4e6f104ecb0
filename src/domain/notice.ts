import type { EventType } from './audit-event.ts';
import type { Method } from './method.ts';
import type { EpochMs } from './time.ts';

/** Changes that a person is told of, by the event that stands for them (OWASP ASVS 5.0, 6.3.7). */
export const NOTABLE: ReadonlySet<EventType> = new Set<EventType>([
  'factor.enrolled',
  'factor.replaced',
  'factor.removed',
  'factor.frozen',
  'backup_codes.regenerated',
  'backup_code.used',
  'consent.withdrawn',
  'device.trusted',
  'device.token_reused',
  'session.ended', // with the reason EVICTED or HIJACK only, see `isNotable`
  'subject.locked',
  'subject.hard_locked',
  'subject.reset',
  'subject.reported_not_me',
]);

/** What of an event the person is shown: what operators note and what was seen of a connection stays in the trail. */
const TOLD_FACTS = ['codes_left', 'device_id'] as const;

export function toldFacts({
  facts = {},
}: {
  readonly facts?: Readonly<Record<string, string>>;
}): Record<string, string> {
  return Object.fromEntries(TOLD_FACTS.flatMap((key) => (facts[key] === undefined ? [] : [[key, facts[key]]])));
}

/** A notice that waits to be sent. Plain data; it carries no secret in the clear. */
export interface Notice {
  readonly id: string;
  readonly realm: string;
  readonly subject: string;
  readonly type: EventType;
  readonly method?: Method;
  readonly at: EpochMs;
  /** Shown to the person, for instance `codes_left`. */
  readonly facts: Readonly<Record<string, string>>;
  /**
   * Where the person was reached by SMS before the change took that factor away; as stored there, for `secretBinding` of it.
   * It leaves the process as the number of a message only.
   */
  readonly formerNumber?: { readonly factorId: string; readonly sealedSecret: Uint8Array };
}

/** Whether the person is told of the event. */
export function isNotable(event: {
  readonly type: EventType;
  readonly subject?: string;
  readonly reason?: string;
}): boolean {
  if (event.subject === undefined || !NOTABLE.has(event.type)) return false;
  return event.type !== 'session.ended' || event.reason === 'EVICTED' || event.reason === 'HIJACK';
}
