import type { Caller, ClientContext } from '#src/domain/caller.ts';
import type { EpochMs } from '#src/domain/time.ts';

/**
 * What an enrolled browser, or one that is to be enrolled, asks for on the public listener. A ticket or a signature is
 * the only thing that grants; refusals do not say why. What has to be signed is in domain/push-message.ts.
 */
export interface PushDevices {
  /** base64url, 87 characters: browsers subscribe with it (`applicationServerKey`). Throws Fault(unavailable). */
  publicKey(): Promise<string>;
  /**
   * Looks at what the browser made and answers what it has to sign; keeps nothing, so a repeat is harmless.
   * Throws Fault(precondition, ENROLLMENT_EXPIRED) for a ticket that is spent, over or unknown, Fault(invalid,
   * FIELD_INVALID) for a subscription or key that will not do.
   */
  enroll(visit: PushVisit, made: MadeDevice): Promise<DeviceToConfirm>;
  /** Spends the ticket. Throws as `enroll`, and Fault(invalid, PROOF_REFUSED) for a wrong signature. */
  confirm(visit: PushVisit, made: MadeDevice & { readonly signature: Uint8Array }): Promise<ConfirmedDevice>;
  /**
   * What is to be approved; the challenge is SEEN from then on. Undefined where there is nothing that this device may
   * see: unknown, ended, over, sent to another device, wrong signature, signed more than five minutes off the server's time.
   */
  view(visit: PushVisit, command: ViewApproval): Promise<ApprovalView | undefined>;
  /**
   * What became of it. `refused` for everything that `view` does not show, and without a word more. A wrong number denies.
   * Throws Fault(limited) and Fault(unavailable) as AnswerChallenge does; the same may be sent again then.
   */
  answer(visit: PushVisit, command: AnswerApproval): Promise<ApprovalOutcome>;
}

/** Who asks: the caller `public` with the role `portal`, and the connection as far as it can be believed. */
export interface PushVisit {
  readonly caller: Caller;
  readonly client: ClientContext;
}

/** What the browser made for the ticket in its link. */
export interface MadeDevice {
  readonly ticket: string;
  /** The browser's PushSubscription as JSON. */
  readonly subscriptionJson: string;
  /** SPKI, P-256. */
  readonly devicePublicKey: Uint8Array;
}

/** The device keeps factor, realm and subject: every later signature has them. */
export interface DeviceToConfirm {
  readonly factorId: string;
  readonly realm: string;
  readonly subject: string;
  readonly displayName: string;
  /** The bytes of `pushEnrollmentBytes`. */
  readonly challenge: Uint8Array;
}

export interface ConfirmedDevice {
  readonly displayName: string;
  /** As printed, to be shown this once, if it is the person's first factor; else empty. */
  readonly backupCodes: readonly string[];
}

/** Realm, challenge and factor are in the notification. */
export interface ViewApproval {
  readonly realm: string;
  readonly factorId: string;
  readonly challengeId: string;
  /** When the device signed, by its clock. */
  readonly at: EpochMs;
  /** Over `pushViewBytes`: ES256 as r and s of 32 bytes each (IEEE P1363). */
  readonly signature: Uint8Array;
}

/** What the person is asked to approve. */
export interface ApprovalView {
  readonly subject: string;
  readonly resource: string;
  readonly action: string;
  readonly details: ReadonlyMap<string, string>;
  /** Can be computed from the rest (domain/action.ts), so that what is signed is what is shown. */
  readonly actionDigest: string;
  /** Digits of the number to be typed. */
  readonly digits: number;
  readonly expiresAt: EpochMs;
  /** The server's clock, so that the time left can be shown whatever the device's says. */
  readonly now: EpochMs;
}

export interface AnswerApproval {
  readonly realm: string;
  readonly factorId: string;
  readonly challengeId: string;
  /** As typed; may be '' with a denial. */
  readonly number: string;
  readonly approve: boolean;
  /** "This was not me"; only with a denial. */
  readonly notMe: boolean;
  /** Over `pushAnswerBytes`. */
  readonly signature: Uint8Array;
}

export type ApprovalOutcome = 'approved' | 'denied' | 'refused';
