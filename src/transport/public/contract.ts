import type { Caller, ClientContext } from '../../domain/caller.ts';
import type { EpochMs } from '../../domain/time.ts';

/**
 * What the public listener needs of the services behind it. Everything here is asked for by browsers that nobody vouches
 * for: a ticket, a signature or a token in the request is the only thing that grants, and refusals do not say why.
 */

/** Who asks: the caller `public` with the role `portal`, and the connection as far as it can be believed. */
export interface Visit {
  readonly caller: Caller;
  readonly client: ClientContext;
}

/** Takes status callbacks of Twilio. */
export interface SmsCallbacks {
  /** False when the signature is not Twilio's; then nothing happened. Throws Fault(unavailable) to be called again. */
  receive(visit: Visit, callback: TwilioCallback): Promise<boolean>;
}

export interface TwilioCallback {
  /** As Twilio called it: the public origin, and path and query as they came. */
  readonly url: string;
  /** X-Twilio-Signature; '' if absent. */
  readonly signature: string;
  /** Decoded, in the order in which they came, repeated ones included. */
  readonly params: readonly (readonly [name: string, value: string])[];
}

/** What an enrolled browser, or one that is to be enrolled, asks for. */
export interface PushDevices {
  /** base64url, 87 characters: browsers subscribe with it. */
  readonly publicKey: string;
  /** Name shown in notifications and on the pages. */
  readonly appName: string;
  /**
   * Hands in what the browser made. Answers the bytes that it has to sign; the same for a repeat with the same values.
   * Throws Fault(precondition, ENROLLMENT_EXPIRED) for a ticket that is spent, over or unknown, Fault(invalid,
   * FIELD_INVALID) for a subscription or key that will not do.
   */
  enroll(visit: Visit, command: EnrollDevice): Promise<{ readonly factorId: string; readonly challenge: Uint8Array }>;
  /** Spends the ticket. Throws as `enroll`, and Fault(denied, PROOF_REFUSED) for a wrong signature. */
  confirm(visit: Visit, command: ConfirmDevice): Promise<{ readonly displayName: string }>;
  /** Undefined when there is nothing that this device may see: unknown, ended, over, of somebody else, wrong signature. */
  view(visit: Visit, command: ViewApproval): Promise<ApprovalView | undefined>;
  /** What became of the challenge; `refused` for everything that `view` does not show either. */
  answer(visit: Visit, command: AnswerApproval): Promise<ApprovalOutcome>;
}

export interface EnrollDevice {
  readonly ticket: string;
  /** The browser's PushSubscription as JSON. */
  readonly subscriptionJson: string;
  /** SPKI, P-256. */
  readonly devicePublicKey: Uint8Array;
}

export interface ConfirmDevice {
  readonly ticket: string;
  /** ES256 as r and s of 32 bytes each (IEEE P1363). */
  readonly signature: Uint8Array;
}

export interface ViewApproval {
  readonly factorId: string;
  readonly challengeId: string;
  /** When the device signed, by its clock. */
  readonly at: EpochMs;
  readonly signature: Uint8Array;
}

/** What the person is asked to approve. */
export interface ApprovalView {
  readonly subject: string;
  readonly resource: string;
  readonly action: string;
  readonly details: ReadonlyMap<string, string>;
  readonly actionDigest: string;
  /** Digits of the number to be typed. */
  readonly digits: number;
  readonly expiresAt: EpochMs;
  /** The server's clock, so that the time left can be shown whatever the device's says. */
  readonly now: EpochMs;
}

export interface AnswerApproval {
  readonly factorId: string;
  readonly challengeId: string;
  /** '' with a denial. */
  readonly number: string;
  readonly approve: boolean;
  /** Only with a denial. */
  readonly notMe: boolean;
  readonly signature: Uint8Array;
}

export type ApprovalOutcome = 'approved' | 'denied' | 'refused';

/** The link "this was not me" in notices. */
export interface NotMe {
  /** What the link is about; changes nothing. Undefined for a token that is unknown or over. */
  view(visit: Visit, token: string): Promise<NotMeView | undefined>;
  /** Locks. False for a token that is unknown or over; true again for one that was used. */
  confirm(visit: Visit, token: string): Promise<boolean>;
}

export interface NotMeView {
  /** Of the event: `factor.enrolled` and the like. */
  readonly type: string;
  readonly at: EpochMs;
  /** Whether it was confirmed before. */
  readonly done: boolean;
}
