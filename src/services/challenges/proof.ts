import type { Challenge } from '#src/domain/challenge.ts';
import { isGuessable, type Method } from '#src/domain/method.ts';
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
  | {
      readonly outcome: 'wrong';
      /** Which check it failed, one word for the trail; only of methods whose proofs cannot be guessed. */
      readonly refusal?: string;
    };

/**
 * Whether an attempt is spent for a proof of this kind. A signature cannot be guessed, and neither can a person's no be: a
 * lock must not keep anybody from signing, nor from saying that it was not them (OWASP ASVS 5.0, 6.1.1).
 */
export function isGuess(proof: Proof): boolean {
  return isGuessable(proof.kind) && !(proof.kind === 'push' && !proof.approve);
}

/**
 * Looks at proofs. `check` is called only after an attempt was spent for a guess, and only for methods that the challenge offers.
 * Malformed codes, a missing factor and a removed one are `wrong`, after the same work as a wrong code.
 */
export interface ProofChecker {
  /** Whether an attempt has to be spent before `check`. */
  isGuess(challenge: Challenge, proof: Proof, now: EpochMs): Promise<boolean>;
  check(challenge: Challenge, proof: Proof, now: EpochMs): Promise<ProofVerdict>;
  /** Does the work of a check and learns nothing: for people who are locked, so that time tells nothing. */
  imitate(proof: Proof): Promise<void>;
}

/** For the fingerprint of a request; the text goes into a keyed digest and nowhere else. */
export function proofFields(proof: Proof): readonly (string | Uint8Array)[] {
  switch (proof.kind) {
    case 'totp':
      return [proof.kind, proof.code, proof.nextCode];
    case 'sms':
    case 'backup_code':
      return [proof.kind, proof.code];
    case 'webauthn':
      return [proof.kind, proof.credentialJson];
    case 'push':
      return [proof.kind, proof.factorId, proof.number, String(proof.approve), String(proof.notMe), proof.signature];
  }
}
