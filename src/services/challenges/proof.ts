import type { Challenge } from '#src/domain/challenge.ts';
import type { Method } from '#src/domain/method.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { ProofClaim } from '#src/ports/challenge-store.ts';

/** A person's answer, as typed or signed; nothing about it has been checked, not even its form. */
export type Proof =
  | {
      readonly kind: 'totp';
      readonly code: string;
      /** The code that follows, to resynchronise a drifted device (RFC 4226 section 7.4); '' for the normal case. */
      readonly nextCode: string;
    }
  | { readonly kind: 'backup_code'; readonly code: string }
  | { readonly kind: 'sms'; readonly code: string }
  | { readonly kind: 'webauthn'; readonly credentialJson: string }
  | {
      readonly kind: 'push';
      readonly factorId: string;
      readonly number: string;
      readonly approve: boolean;
      readonly notMe: boolean;
      readonly signature: Uint8Array;
    };

export type ProofVerdict =
  | {
      readonly outcome: 'right';
      /** What the approval uses up; whether it was used before is decided there, atomically. */
      readonly claim: ProofClaim;
      readonly method: Method;
      readonly factorId: string;
      /** True when two consecutive codes moved the device's drift. */
      readonly resynchronized?: boolean;
    }
  /** The person said no, or typed another number than the one shown: the challenge ends. */
  | {
      readonly outcome: 'denied';
      readonly reason: 'DENIED' | 'NUMBER_WRONG' | 'NOT_ME';
      readonly method: Method;
      readonly factorId: string;
    }
  /** Right for a step or code that is known to be spent. Optional: `approve` finds it as well. */
  | { readonly outcome: 'replayed' }
  | { readonly outcome: 'wrong' };

/**
 * Looks at proofs. It is called only after an attempt was spent, and only for methods that the challenge offers.
 * Malformed codes, a missing factor and a removed one are `wrong`, after the same work as a wrong code.
 */
export interface ProofChecker {
  check(challenge: Challenge, proof: Proof, now: EpochMs): Promise<ProofVerdict>;
  /** Does the work of a check and learns nothing: for people who are locked, so that time tells nothing. */
  imitate(proof: Proof): Promise<void>;
}
