import type { Action, Sensitivity } from './action.ts';
import type { Method } from './method.ts';
import { type EpochMs, isOver } from './time.ts';

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
  readonly policyRule: string;
  readonly createdAt: EpochMs;
  readonly expiresAt: EpochMs;
  readonly settledAt?: EpochMs;
  /** The `jti` of the receipt; set with APPROVED. */
  readonly receiptId?: string;
  readonly receiptExpiresAt?: EpochMs;
}

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
