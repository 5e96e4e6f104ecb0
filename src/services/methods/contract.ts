import type { Caller, ClientContext } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import type { Method } from '#src/domain/method.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { FactorProof } from '#src/ports/factor-store.ts';
import type { Proof, ProofVerdict } from '../challenges/proof.ts';

/** What one method has to do, for challenges and for enrolments. The engine and the enrolment know methods by this alone. */

/** What to show for a chosen method. */
export interface PromptView {
  readonly method: Method;
  readonly factorId: string;
  /** Push: to be shown here and typed on the device. */
  readonly number?: string;
  /** SMS: where the code goes, masked. */
  readonly destination?: string;
  /** WebAuthn: PublicKeyCredentialRequestOptionsJSON. */
  readonly webauthnOptionsJson?: string;
}

export interface ChallengeMethod {
  readonly method: Method;
  /**
   * Called when the factor is chosen, and when it is asked for again (`again`). Makes or sends what the person needs.
   * Quick: what takes long goes on in the background and tells of itself by ChallengeStore.noteDelivery. Chosen twice
   * without `again`, nothing is sent twice and the same is shown.
   *
   * Faults: limited LIMIT_EXCEEDED (too many sends; retryAfterMs), precondition METHOD_NOT_OFFERED (`again` where nothing
   * is sent), unavailable DELIVERY_FAILED.
   */
  prompt(caller: Caller, challenge: Challenge, factor: Factor, again: boolean): Promise<PromptView>;
  /** See ProofChecker. `factors` are the person's own of this method that the challenge offers and that are usable now. */
  check(challenge: Challenge, factors: readonly Factor[], proof: Proof, now: EpochMs): Promise<ProofVerdict>;
  /**
   * Whether the proof is a guess, for which an attempt is spent before `check` looks at it. Absent: what `isGuess` in
   * challenges/proof.ts says. Push: a signed approval is one, since its number can be guessed; what no device of the
   * person has signed is refused whatever it says, so nothing can be guessed by it, and strangers cannot spend attempts.
   */
  isGuess?(challenge: Challenge, factors: readonly Factor[], proof: Proof): Promise<boolean>;
  /**
   * What `prompt` would show, without anything being made, kept or sent: for somebody who may not know that the person is
   * locked. Absent: method and factor alone.
   */
  pretend?(challenge: Challenge, factor: Factor): Promise<PromptView>;
  /** Does the work of a check and learns nothing. */
  imitate(proof: Proof): Promise<void>;
}

/** What BeginEnrollment carries for the method, as it came. */
export interface EnrollmentInput {
  readonly displayName: string;
  /** TOTP: for the key URI; never empty. */
  readonly accountName: string;
  readonly phoneNumber: string;
  readonly pushSubscriptionJson: string;
  readonly devicePublicKey: Uint8Array;
  readonly language: string;
  readonly client: ClientContext;
}

export interface PreparedFactor {
  readonly sealedSecret: Uint8Array;
  readonly uniqueDigest?: Uint8Array;
  /** In place of the one given, when that is empty. */
  readonly displayName?: string;
}

/** What the person needs to go on with an enrolment. */
export type EnrollmentMaterial =
  | { readonly kind: 'totp'; readonly keyUri: string; readonly manualKey: string }
  | { readonly kind: 'sms'; readonly destination: string }
  | { readonly kind: 'webauthn'; readonly optionsJson: string }
  | { readonly kind: 'push_challenge'; readonly bytes: Uint8Array }
  | { readonly kind: 'push_link'; readonly url: string };

/** What ConfirmEnrollment carries, as it came. */
export type EnrollmentProof =
  | { readonly kind: 'code'; readonly code: string }
  | { readonly kind: 'webauthn'; readonly credentialJson: string }
  | {
      readonly kind: 'push';
      readonly signature: Uint8Array;
      /** What the browser made, where it was not known when the enrolment was begun: from the public listener alone. */
      readonly made?: { readonly subscriptionJson: string; readonly devicePublicKey: Uint8Array };
    };

export type EnrollmentVerdict =
  | { readonly outcome: 'right'; readonly proof: FactorProof }
  /** `description` for the person; `field` of ConfirmEnrollmentRequest. */
  | { readonly outcome: 'wrong'; readonly field: string; readonly description: string };

export interface EnrollmentMethod {
  readonly method: Method;
  /** True when what confirms it can be guessed: then an attempt is spent before it is looked at. */
  readonly guessable: boolean;
  /**
   * Before the row is stored. Throws Fault(invalid, FIELD_INVALID) for input that will not do, Fault(limited,
   * LIMIT_EXCEEDED) where nothing more may be sent.
   */
  prepare(row: Pick<Factor, 'id' | 'realm' | 'subject'>, input: EnrollmentInput): Promise<PreparedFactor>;
  /**
   * Once the row is stored, and again for a repeated request: sends or makes what the person needs. `repeat` sends
   * nothing a second time. Throws Fault(limited, LIMIT_EXCEEDED) and Fault(unavailable, DELIVERY_FAILED).
   */
  material(caller: Caller, factor: Factor, input: EnrollmentInput, repeat: boolean): Promise<EnrollmentMaterial>;
  check(factor: Factor, proof: EnrollmentProof, now: EpochMs): Promise<EnrollmentVerdict>;
}

/** All parts of one method; backup codes are not enrolled by themselves. */
export interface MethodParts {
  readonly challenge: ChallengeMethod;
  readonly enrollment?: EnrollmentMethod;
  /** Where it reaches the person, masked: the number of an SMS factor. */
  readonly mask?: (factor: Factor) => string;
}
