import type { Action, Sensitivity } from './action.ts';
import { amrOf, type Method } from './method.ts';
import { type DurationMs, type EpochMs, isOver, MINUTE, SECOND } from './time.ts';

export type ChallengeState =
  | 'PENDING'
  | 'DELIVERED'
  | 'SEEN'
  | 'APPROVED'
  | 'DENIED'
  | 'EXPIRED'
  | 'CANCELLED'
  | 'LOCKED'
  | 'SUPERSEDED';

export type TerminalState = 'APPROVED' | 'DENIED' | 'EXPIRED' | 'CANCELLED' | 'LOCKED' | 'SUPERSEDED';
export type OpenState = Exclude<ChallengeState, TerminalState>;

export type ChallengePurpose = 'action' | 'login' | 'factor_change' | 'step_up';

export type ApprovalReason = 'PROOF' | 'MFA_DISABLED' | 'NOT_REQUIRED' | 'RECENT_MFA' | 'TRUSTED_DEVICE';

/** One way to answer, fixed when the challenge is opened. */
export interface MethodOffer {
  readonly method: Method;
  readonly factorId: string;
  /** Masked where personal. */
  readonly displayName: string;
}

/** How far a message or notification got; SENT is no proof that it arrives. UNKNOWN: it may have been sent, or not. */
export type DeliveryStatus = 'QUEUED' | 'SENT' | 'DELIVERED' | 'FAILED' | 'UNKNOWN';

/** What became of the last message or notification that was sent for a challenge. */
export interface Delivery {
  /** Tells one attempt to deliver from the next, so that late word of an older one changes nothing. */
  readonly id: string;
  readonly method: Method;
  readonly factorId: string;
  readonly status: DeliveryStatus;
  /** Why it failed, one word such as UNREACHABLE; '' otherwise. */
  readonly reason: string;
  /** Whether sending it again could help. */
  readonly resendable: boolean;
  readonly at: EpochMs;
}

/** A challenge as stored. Plain data: it crosses threads and processes. */
export interface Challenge {
  readonly id: string;
  readonly realm: string;
  readonly subject: string;
  /** '' when it was opened without a session. */
  readonly sessionId: string;
  /** Name of the caller that opened it. */
  readonly openedBy: string;
  readonly purpose: ChallengePurpose;
  readonly action: Action;
  readonly actionDigest: string;
  readonly sensitivity: Sensitivity;
  readonly audience: string;
  readonly state: ChallengeState;
  readonly approvalReason?: ApprovalReason;
  readonly offers: readonly MethodOffer[];
  readonly chosenMethod?: Method;
  readonly provenMethod?: Method;
  readonly provenFactorId?: string;
  /** Absent while nothing was sent. */
  readonly delivery?: Delivery;
  /** BCP 47 language of what is sent to the person; '' for the configured one. */
  readonly language?: string;
  readonly policyRule: string;
  readonly createdAt: EpochMs;
  readonly expiresAt: EpochMs;
  readonly settledAt?: EpochMs;
  /** The `jti` of the receipt; set with APPROVED. */
  readonly receiptId?: string;
  readonly receiptExpiresAt?: EpochMs;
}

const DELIVERY_ORDER: Readonly<Record<DeliveryStatus, number>> = {
  QUEUED: 0,
  UNKNOWN: 1,
  SENT: 2,
  FAILED: 3,
  DELIVERED: 4,
};

/**
 * Whether word of a delivery says more than what is noted: it got further, or a reason became known. A new delivery
 * begins with QUEUED and no reason; whatever else comes of a delivery that is not the noted one is late word of an older.
 */
export function saysMore(delivery: Delivery, noted: Delivery | undefined): boolean {
  if (noted === undefined) return true;
  if (delivery.id !== noted.id) return delivery.status === 'QUEUED' && delivery.reason === '';
  const further = DELIVERY_ORDER[delivery.status] - DELIVERY_ORDER[noted.status];
  return further > 0 || (further === 0 && noted.reason === '' && delivery.reason !== '');
}

/** No challenge lives longer, whatever the settings say (NIST SP 800-63B section 5.1.3.2). */
export const LONGEST_LIFE: DurationMs = 10 * MINUTE;

const TERMINAL: ReadonlySet<ChallengeState> = new Set([
  'APPROVED',
  'DENIED',
  'EXPIRED',
  'CANCELLED',
  'LOCKED',
  'SUPERSEDED',
]);
const ORDER: Readonly<Record<OpenState, number>> = { PENDING: 0, DELIVERED: 1, SEEN: 2 };

export function isTerminal(state: ChallengeState): state is TerminalState {
  return TERMINAL.has(state);
}

/** Whether `from → to` is a legal transition: forward through the open states, then one terminal state, then nothing. */
export function canMove(from: ChallengeState, to: ChallengeState): boolean {
  if (isTerminal(from)) return false;
  if (isTerminal(to)) return true;
  return ORDER[to] > ORDER[from];
}

/** The state a reader must be told at `now`: an open challenge whose time is up is EXPIRED even before it is stored so. */
export function stateAt(challenge: Challenge, now: EpochMs): ChallengeState {
  if (!isTerminal(challenge.state) && isOver(challenge.expiresAt, now)) return 'EXPIRED';
  return challenge.state;
}

/**
 * The challenge as a caller may see it. Whoever may not know that a person is locked sees a locked challenge as an open
 * one whose answers are all refused, until its time is up: the same as for somebody who keeps guessing wrong.
 */
export function shownTo(challenge: Challenge, knows: boolean, now: EpochMs): Challenge {
  if (knows || challenge.state !== 'LOCKED') return challenge;
  if (isOver(challenge.expiresAt, now)) return { ...challenge, state: 'EXPIRED', settledAt: challenge.expiresAt };
  const { settledAt: _hidden, ...open } = challenge;
  const { status } = challenge.delivery ?? {};
  return { ...open, state: status === 'SENT' || status === 'DELIVERED' ? 'DELIVERED' : 'PENDING' };
}

/** Whether choosing the method sends something to the person. */
export function delivers(method: Method | undefined): boolean {
  return method === 'sms' || method === 'push';
}

/** When the receipt of a challenge approved at `now` lapses: a whole second, since that is what a JWT can say. */
export function receiptExpiry(now: EpochMs, life: DurationMs): EpochMs {
  return Math.floor((now + life) / SECOND) * SECOND;
}

/** What an approval proved: methods (RFC 8176) and level (NIST SP 800-63B). */
export function assuranceOf(challenge: Challenge): { readonly amr: readonly string[]; readonly acr: 'aal1' | 'aal2' } {
  if (challenge.provenMethod !== undefined) return { amr: amrOf(challenge.provenMethod), acr: 'aal2' };
  return challenge.approvalReason === 'RECENT_MFA' ? { amr: ['mfa'], acr: 'aal2' } : { amr: [], acr: 'aal1' };
}
