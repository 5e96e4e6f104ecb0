import type { Method } from './method.ts';
import type { EpochMs } from './time.ts';

/** Every event there is, in past tense. The reference for people is docs/security/EVENTS.md, kept equal by a test. */
export const EVENT_TYPES = [
  'challenge.opened',
  'challenge.method_chosen',
  'challenge.delivered',
  'challenge.delivery_failed',
  'challenge.seen',
  'challenge.approved',
  'challenge.refused',
  'challenge.denied',
  'challenge.expired',
  'challenge.cancelled',
  'challenge.locked',
  'challenge.superseded',
  'challenge.bypassed',
  'receipt.redeemed',
  'receipt.refused',
  'factor.enrollment_begun',
  'factor.enrolled',
  'factor.enrollment_refused',
  'factor.replaced',
  'factor.removed',
  'factor.change_refused',
  'factor.resynchronized',
  'factor.frozen',
  'factor.thawed',
  'factor.counter_regressed',
  'factor.endpoint_gone',
  'backup_codes.generated',
  'backup_codes.regenerated',
  'backup_code.used',
  'consent.recorded',
  'consent.withdrawn',
  'device.trusted',
  'device.used',
  'device.renamed',
  'device.revoked',
  'device.refused',
  'device.token_reused',
  'session.created',
  'session.refused',
  'session.stepped_up',
  'session.updated',
  'session.ended',
  'session.risk_detected',
  'session.rejected',
  'subject.locked',
  'subject.hard_locked',
  'subject.unlocked',
  'subject.reset',
  'subject.reported_not_me',
  'subject.exported',
  'subject.erased',
  'notice.sent',
  'notice.failed',
  'sms.stopped',
  'sms.resumed',
  'caller.refused',
  'request.refused',
  'limit.hit',
  'key.created',
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
] as const;

export type EventType = (typeof EVENT_TYPES)[number];

export type EventOutcome = 'SUCCESS' | 'REFUSED' | 'FAILED' | 'INFO';

/**
 * An event before it is sealed, numbered and chained. Plain data: it crosses threads. There is no field for a code, seed,
 * token or number, and `facts` never carries one. `subject`, `ipAddress` and `userAgent` are personal: they are
 * encrypted under the person's own key before they reach the disk.
 */
export interface EventDraft {
  /** Made by the service, so that the same event written twice is recognised. */
  readonly id: string;
  readonly type: EventType;
  readonly at: EpochMs;
  /** '' only for events of the sidecar itself. */
  readonly realm: string;
  readonly subject?: string;
  readonly outcome: EventOutcome;
  /** From the catalogue of reasons, or a state's or end's name. */
  readonly reason?: string;
  readonly caller?: string;
  readonly correlationId?: string;
  readonly challengeId?: string;
  readonly sessionId?: string;
  readonly factorId?: string;
  readonly method?: Method;
  readonly actionDigest?: string;
  /** How many equal refusals it stands for; 1 if absent. */
  readonly count?: number;
  readonly ipAddress?: string;
  readonly userAgent?: string;
  /** Values are capped and control characters encoded by the sealer. */
  readonly facts?: Readonly<Record<string, string>>;
}
