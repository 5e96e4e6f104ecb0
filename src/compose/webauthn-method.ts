import { Ceremonies } from '#src/adapters/webauthn/ceremonies.ts';
import type { Config } from '#src/config/schema.ts';
import type { MethodParts } from '#src/services/methods/contract.ts';
import { type WebAuthnDependencies, webauthnParts } from '#src/services/methods/webauthn.ts';

/** Passkeys and security keys as the settings want them; undefined where they are switched off. */
export function composeWebAuthn(
  deps: Omit<WebAuthnDependencies, 'options' | 'webauthn'> & { readonly config: Config },
): MethodParts | undefined {
  const { mfa, profile, webauthn } = deps.config;
  if (!mfa.methods.includes('webauthn')) return undefined;
  return webauthnParts({
    ...deps,
    webauthn: new Ceremonies({
      rpId: webauthn.rp_id,
      rpName: webauthn.rp_name,
      origins: webauthn.origins,
      topOrigins: webauthn.top_origins,
    }),
    options: {
      alwaysVerifyUser: profile === 'nist',
      acceptRegression: webauthn.counter_regression === 'audit',
    },
  });
}
