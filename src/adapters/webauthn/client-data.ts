import { isSameBytes } from '#src/domain/same-bytes.ts';
import { readClientData } from './browser-answer.ts';
import { demand } from './refused.ts';

export interface ExpectedClientData {
  readonly type: 'webauthn.create' | 'webauthn.get';
  readonly challenge: Uint8Array;
  /** Exactly as browsers write them. */
  readonly origins: readonly string[];
  /** Origins that may embed one of `origins` in a frame. */
  readonly topOrigins: readonly string[];
}

/**
 * What the browser says of the ceremony (W3C WebAuthn Level 3 sections 7.1 and 7.2, the steps on C.type to C.topOrigin).
 * A frame of another site is refused unless it names a listed top origin: some browsers leave the name out, and then
 * nobody knows who embeds.
 *
 * Throws Refused: MALFORMED, TYPE, CHALLENGE, ORIGIN, CROSS_ORIGIN.
 */
export function checkClientData(clientDataJSON: string, expected: ExpectedClientData): void {
  const { type, challenge, origin, crossOrigin, topOrigin } = readClientData(clientDataJSON);
  demand(type === expected.type, 'TYPE');
  demand(isSame(challenge, expected.challenge), 'CHALLENGE');
  demand(typeof origin === 'string' && expected.origins.includes(origin), 'ORIGIN');
  if (crossOrigin === undefined || crossOrigin === false) {
    demand(topOrigin === undefined, 'CROSS_ORIGIN');
  } else {
    demand(crossOrigin === true, 'MALFORMED');
    demand(typeof topOrigin === 'string' && expected.topOrigins.includes(topOrigin), 'CROSS_ORIGIN');
  }
}

function isSame(given: unknown, expected: Uint8Array): boolean {
  if (typeof given !== 'string') return false;
  const wanted = Buffer.from(Buffer.from(expected).toString('base64url'), 'utf8');
  const bytes = Buffer.from(given, 'utf8');
  return isSameBytes(bytes, wanted);
}
