/**
 * Whether an authenticator's signature counter did not grow, a sign that the key exists twice (W3C WebAuthn Level 3
 * section 7.2, the step on signCount). Authenticators that do not count say 0 always.
 */
export function counterRegressed(stored: number, shown: number): boolean {
  return (stored !== 0 || shown !== 0) && shown <= stored;
}
