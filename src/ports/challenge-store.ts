import type { EventDraft } from '../domain/audit-event.ts';
import type { Challenge, ChallengeState, Delivery, TerminalState } from '../domain/challenge.ts';
import type { Method } from '../domain/method.ts';
import type { EpochMs } from '../domain/time.ts';
import type { ReceiptBurn, Repeat, RequestClaim } from './intents.ts';

export interface OpenChallenge {
  /** In state PENDING, or APPROVED when the policy needs no proof. */
  readonly challenge: Challenge;
  readonly request?: RequestClaim;
  /** Bound on challenges of one person that are open at once. */
  readonly maxOpen: number;
  /** Recorded with `opened`. */
  readonly events: readonly EventDraft[];
}

/** What a right proof uses up. */
export type ProofClaim =
  | { readonly kind: 'totp'; readonly factorId: string; readonly step: number; readonly driftSteps: number }
  | { readonly kind: 'backup_code'; readonly factorId: string; readonly codeId: string }
  /** An SMS code or a push number, still the newest of this challenge (ports/issued-codes.ts). */
  | { readonly kind: 'issued'; readonly method: 'sms' | 'push'; readonly factorId: string; readonly digest: Uint8Array }
  /** The counter has to grow, unless both are 0 (W3C WebAuthn section 7.2, step 22) or `anyCounter`. The nonce was taken before. */
  | { readonly kind: 'webauthn'; readonly factorId: string; readonly signCount: number; readonly anyCounter: boolean };

export interface ApproveChallenge {
  readonly realm: string;
  readonly challengeId: string;
  readonly proof: ProofClaim;
  readonly method: Method;
  readonly receiptId: string;
  readonly receiptExpiresAt: EpochMs;
  readonly now: EpochMs;
  /** Key of the request that AttemptStore.spend noted as refused; becomes approved in the same step. */
  readonly requestKey?: string;
  /** Recorded with `approved`; `backup_code.used` with the fact `codes_left`. */
  readonly events: readonly EventDraft[];
}

export interface SettleChallenge {
  readonly realm: string;
  readonly challengeId: string;
  readonly to: Exclude<TerminalState, 'APPROVED'>;
  readonly now: EpochMs;
  /** Recorded with `settled`. */
  readonly events: readonly EventDraft[];
}

export interface BurnReceipt extends ReceiptBurn {
  readonly realm: string;
  readonly now: EpochMs;
  readonly request?: RequestClaim;
  /** Recorded with `burned`. */
  readonly events: readonly EventDraft[];
}

export interface ChallengeStore {
  /** `too_many`: the person has `maxOpen` open challenges already. Expired ones do not count. */
  open(command: OpenChallenge): Promise<{ readonly outcome: 'opened' } | { readonly outcome: 'too_many' } | Repeat>;
  /** Whether the request was made before, by `open` or `burnReceipt`; claims nothing. */
  repeatOf(request: RequestClaim, now: EpochMs): Promise<Repeat | undefined>;
  read(realm: string, challengeId: string): Promise<Challenge | undefined>;
  /** Moves forward through the open states and notes the chosen method. No event: the service records its own. */
  advance(command: {
    readonly realm: string;
    readonly challengeId: string;
    readonly to: ChallengeState;
    readonly chosenMethod?: Method;
    readonly now: EpochMs;
  }): Promise<
    { readonly outcome: 'advanced' | 'unchanged'; readonly challenge: Challenge } | { readonly outcome: 'missing' }
  >;
  /**
   * Notes what became of what was sent. Word of an older delivery than the one noted, or of a status before it, changes
   * nothing (domain/challenge.ts, `saysMore`): a new delivery takes the place of the one noted by its QUEUED alone. Nor
   * does word for a challenge that has ended. SENT and DELIVERED move the challenge to DELIVERED.
   */
  noteDelivery(command: {
    readonly realm: string;
    readonly challengeId: string;
    readonly delivery: Delivery;
    readonly now: EpochMs;
    /** Recorded with `noted`. */
    readonly events: readonly EventDraft[];
  }): Promise<
    { readonly outcome: 'noted' | 'unchanged'; readonly challenge: Challenge } | { readonly outcome: 'missing' }
  >;
  /** Open challenges of a person with this chosen method, for the one that is to take their place. */
  openOf(realm: string, subject: string, method: Method, now: EpochMs): Promise<readonly Challenge[]>;
  /**
   * In one step: the challenge is open and in time, the proof is unused (TOTP step above the factor's last, code unspent,
   * issued code the newest, counter grown, factor active and not frozen), then the proof is used up, the challenge APPROVED
   * and, unless the proof is one that nobody can guess (webauthn), the person's failure budget restored. `ended` carries
   * the challenge as it stands; `replayed` means the proof was used before or its factor is gone, and changes nothing.
   */
  approve(
    command: ApproveChallenge,
  ): Promise<
    | { readonly outcome: 'approved'; readonly challenge: Challenge; readonly codesLeft: number }
    | { readonly outcome: 'ended'; readonly challenge: Challenge }
    | { readonly outcome: 'replayed' }
    | { readonly outcome: 'missing' }
  >;
  /** The one terminal transition, by compare-and-set from an open state. */
  settle(
    command: SettleChallenge,
  ): Promise<
    | { readonly outcome: 'settled'; readonly challenge: Challenge }
    | { readonly outcome: 'ended'; readonly challenge: Challenge }
    | { readonly outcome: 'missing' }
  >;
  /** Exactly one `burned` per receipt id, ever; spent ids are kept until well after the receipt's own expiry. */
  burnReceipt(command: BurnReceipt): Promise<{ readonly outcome: 'burned' | 'spent' } | Repeat>;
  /** Open challenges whose time is up, oldest first. */
  due(now: EpochMs, limit: number): Promise<readonly Challenge[]>;
  /** Collects rubbish: ended challenges, spent receipts and request claims from before `before`. Answers how many rows went. */
  purge(before: EpochMs, limit: number): Promise<number>;
}
