import type { Config } from '#src/config/schema.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { IssuedCodes } from '#src/ports/issued-codes.ts';
import type { Clock, KeyedDigest, Random, SecretBox } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { Deliveries } from '#src/services/challenges/deliveries.ts';
import type { BackupCodeSets } from '#src/services/factors/backup-code-sets.ts';
import { TotpSeeds } from '#src/services/factors/totp-seeds.ts';
import { backupCodeParts } from '#src/services/methods/backup-code.ts';
import type { MethodParts } from '#src/services/methods/contract.ts';
import { MethodRegistry } from '#src/services/methods/registry.ts';
import { totpParts } from '#src/services/methods/totp.ts';
import type { Trail } from '#src/services/trail.ts';
import { composeWebAuthn } from './webauthn-method.ts';

export interface MethodDependencies {
  readonly config: Config;
  readonly backupCodes: BackupCodeSets;
  /** Undefined where they are switched off. */
  readonly sms: MethodParts | undefined;
  readonly push: MethodParts | undefined;
  /** What methods tell of what they sent. */
  readonly deliveries: Deliveries;
  readonly codes: IssuedCodes;
  readonly factors: FactorStore;
  readonly trail: Trail;
  readonly digest: KeyedDigest;
  readonly box: SecretBox;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** The methods of this sidecar: codes always, so that they can be checked while they are switched off; others by settings. */
export function composeMethods(deps: MethodDependencies): MethodRegistry {
  const { config } = deps;
  const parts: MethodParts[] = [
    totpParts({
      seeds: new TotpSeeds(deps),
      issuer: config.totp.issuer,
      totpWindow: config.totp.window,
      resyncReach: config.totp.resync_reach,
      log: deps.log,
    }),
    backupCodeParts(deps),
  ];
  const webauthn = composeWebAuthn(deps);
  if (webauthn) parts.push(webauthn);
  if (deps.sms) parts.push(deps.sms);
  if (deps.push) parts.push(deps.push);
  return new MethodRegistry(parts);
}
