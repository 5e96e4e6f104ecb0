import type { EventType } from '#src/domain/audit-event.ts';

/** Events that say something was refused, seen or begun, and that stand on their own: no state goes with them. */
const FACTS: ReadonlySet<string> = new Set<EventType>([
  'challenge.delivery_failed',
  'challenge.refused',
  'receipt.refused',
  'factor.enrollment_refused',
  'factor.change_refused',
  'factor.counter_regressed',
  'device.refused',
  'session.refused',
  'session.risk_detected',
  'session.rejected',
  'notice.sent',
  'notice.failed',
  'sms.stopped',
  'sms.resumed',
  'caller.refused',
  'request.refused',
  'limit.hit',
  'policy.loaded',
  'sidecar.started',
  'sidecar.stopped',
  'audit.chain_started',
  'audit.chain_damaged',
  'audit.chain_clash',
  'audit.unconfirmed',
  'audit.events_lost',
  'outage.entered',
  'outage.left',
]);

/** Whether an event of this type claims a change of state, which a crash right after the event can leave undone. */
export function claimsEffect(type: string): boolean {
  return !FACTS.has(type);
}
