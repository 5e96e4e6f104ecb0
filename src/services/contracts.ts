import type { Sensitivity } from '../domain/action.ts';
import type { Caller, ClientContext } from '../domain/caller.ts';
import type { Challenge, ChallengePurpose } from '../domain/challenge.ts';
import type { Work } from '../domain/outage.ts';
import type { Session } from '../domain/session.ts';
import type { EpochMs } from '../domain/time.ts';

/** What services need of one another, so that none imports another's class. */

/** Turns a session token into its session, or undefined for anything that is not good right now. No hijack check. */
export interface SessionAuthority {
  authenticate(realm: string, token: string): Promise<Session | undefined>;
}

/** Keeps what may not go on in an outage from going on. */
export interface OutageGate {
  /** Names of what is away, as `redis,postgres`; '' while nothing is: then there is nothing to ask `admit`. */
  readonly degraded: string;
  /** Throws Fault(unavailable, STORE_UNAVAILABLE) where domain/outage.ts refuses the work as things stand. */
  admit(work: Work, sensitivity: Sensitivity): void;
}

/** The verified content of a receipt. Its single use is not spent by verifying. */
export interface ReceiptClaims {
  readonly receiptId: string;
  readonly realm: string;
  readonly audience: string;
  readonly subject: string;
  /** '' if the challenge had no session. */
  readonly sessionId: string;
  readonly challengeId: string;
  readonly purpose: ChallengePurpose;
  readonly actionDigest: string;
  readonly amr: readonly string[];
  readonly acr: string;
  /** The method that proved it; undefined when approved without a proof. */
  readonly method?: string;
  readonly approvalReason: string;
  readonly approvedAt: EpochMs;
  readonly expiresAt: EpochMs;
}

export interface ReceiptAuthority {
  /** Signs the receipt of an APPROVED challenge; the same challenge always gives the same `jti` and expiry. */
  issue(challenge: Challenge): Promise<{ readonly token: string; readonly expiresAt: EpochMs }>;
  /** Checks signature, `typ`, issuer, realm and times; throws Fault(precondition, RECEIPT_INVALID). Compares nothing else. */
  verify(realm: string, token: string): Promise<ReceiptClaims>;
  /** The public keys as a JWK Set (RFC 7517), current and retired. */
  jwks(): Promise<{ readonly keys: readonly Readonly<Record<string, unknown>>[] }>;
}

/** A login for which MFA would be asked, from a device that says it is remembered. */
export interface DeviceLogin {
  readonly realm: string;
  readonly subject: string;
  readonly purpose: ChallengePurpose;
  readonly sensitivity: Sensitivity;
  /** As it came. */
  readonly token: string;
  readonly client: ClientContext;
}

export interface TrustedDeviceAuthority {
  /**
   * Takes the token of a device that was remembered and hands out the one that takes its place; '' when the one that was
   * shown stays. Refused for anything but a login, for critical actions, and for every token that is not good for this
   * person right now: then MFA is asked for, whatever was wrong. The token is used up as it is looked at, so this comes
   * last before the approval; the same token within the grace gets the same answer. Refusals are events.
   */
  use(
    caller: Caller,
    login: DeviceLogin,
  ): Promise<{ readonly outcome: 'trusted'; readonly nextToken: string } | { readonly outcome: 'refused' }>;
}
