import { parseTemporaryPass, passDigestInput } from '#src/domain/temporary-pass.ts';
import type { KeyedDigest } from '#src/ports/runtime.ts';

/** The stored digest of a pass, by its symbols. */
export function digestOfPass(digest: KeyedDigest, realm: string, subject: string, symbols: string): Uint8Array {
  return digest.digest('temporary_pass', passDigestInput(realm, subject, symbols));
}

/** The digest to look for when a person has typed a pass; text that is no pass gives one that no pass has. */
export function digestOfTypedPass(digest: KeyedDigest, realm: string, subject: string, typed: string): Uint8Array {
  return digestOfPass(digest, realm, subject, parseTemporaryPass(typed) ?? '');
}
