import type { FactorStore } from '#src/ports/factor-store.ts';
import type { IssuedCodes } from '#src/ports/issued-codes.ts';
import type { Clock, KeyedDigest, Random, SecretBox } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { WebAuthn } from '#src/ports/webauthn.ts';
import type { Trail } from '../trail.ts';
import type { MethodParts } from './contract.ts';
import { type WebAuthnAssertionOptions, WebAuthnAssertions } from './webauthn-assertions.ts';
import { WebAuthnCredentials } from './webauthn-credentials.ts';
import { WebAuthnNonces } from './webauthn-nonces.ts';
import { WebAuthnRegistrations } from './webauthn-registrations.ts';

export interface WebAuthnDependencies {
  readonly options: WebAuthnAssertionOptions;
  readonly webauthn: WebAuthn;
  readonly codes: IssuedCodes;
  readonly factors: Pick<FactorStore, 'list'>;
  readonly box: SecretBox;
  readonly digest: KeyedDigest;
  readonly trail: Trail;
  readonly log: Log;
  readonly clock: Clock;
  readonly random: Random;
}

/** Passkeys and security keys. */
export function webauthnParts(deps: WebAuthnDependencies): MethodParts {
  const shared = { ...deps, nonces: new WebAuthnNonces(deps), credentials: new WebAuthnCredentials(deps) };
  return { challenge: new WebAuthnAssertions(shared), enrollment: new WebAuthnRegistrations(shared) };
}
