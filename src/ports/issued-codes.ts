import type { Method } from '../domain/method.ts';
import type { EpochMs } from '../domain/time.ts';

/** A code, number or nonce that was made for one challenge or one pending enrolment. Plain data. */
export interface IssuedCode {
  readonly realm: string;
  readonly subject: string;
  /** The challenge, or the pending factor. */
  readonly bearerId: string;
  readonly method: Method;
  readonly factorId: string;
  /** Keyed digest, bound to bearer and method; what was typed is compared with it. */
  readonly digest: Uint8Array;
  /** The value itself, sealed, where it has to be shown or compared again (a push number, a nonce); empty for codes. */
  readonly sealed: Uint8Array;
  readonly issuedAt: EpochMs;
  readonly expiresAt: EpochMs;
}

/**
 * What was issued last for each bearer and method; older ones are gone. A code is used up in the step that it permits:
 * see ProofClaim and FactorProof.
 */
export interface IssuedCodes {
  /** Takes the place of an older one. */
  issue(code: IssuedCode): Promise<void>;
  /** Undefined when there is none, or its time is up, or it was used. */
  read(realm: string, bearerId: string, method: Method, now: EpochMs): Promise<IssuedCode | undefined>;
  /** Reads it and uses it up: of any number of parallel callers exactly one gets it. For nonces that bear one attempt. */
  take(realm: string, bearerId: string, method: Method, now: EpochMs): Promise<IssuedCode | undefined>;
  /** Collects rubbish; answers how many went. */
  purge(before: EpochMs, limit: number): Promise<number>;
}
