import { newDeviceToken } from '#src/domain/device-token.ts';
import { tokenDigest } from '#src/domain/opaque-token.ts';
import type { KeyedDigest } from '#src/ports/runtime.ts';

/**
 * The token that takes the place of another: made from it under our key, so that whoever asks again with the same one,
 * since the answer was lost or in another tab, gets the same successor, and nobody else can work it out.
 */
export function successorOf(digest: KeyedDigest, token: string): { readonly token: string; readonly digest: string } {
  const next = newDeviceToken(digest.digest('device.successor', token));
  return { token: next, digest: tokenDigest(next) };
}
