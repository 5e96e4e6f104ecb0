import type { Caller } from '#src/domain/caller.ts';
import { isDeviceToken } from '#src/domain/device-token.ts';
import { tokenDigest } from '#src/domain/opaque-token.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Clock, KeyedDigest } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { TrustedDeviceStore } from '#src/ports/trusted-device-store.ts';
import type { DeviceLogin, TrustedDeviceAuthority } from '../contracts.ts';
import type { Trail } from '../trail.ts';
import { successorOf } from './device-successors.ts';
import { type DeviceCall, deviceEvent } from './device-trail.ts';

export interface DeviceLoginDependencies {
  readonly devices: Pick<TrustedDeviceStore, 'use'>;
  readonly digest: KeyedDigest;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly log: Log;
  /** While switched off no token is taken, and none is looked at. */
  readonly enabled: boolean;
  /** How long the token before the last is still taken. */
  readonly graceMs: DurationMs;
}

const REFUSED = { outcome: 'refused' } as const;

/** Lets remembered devices make a second proof needless at login, and at nothing else. */
export class DeviceLogins implements TrustedDeviceAuthority {
  readonly #deps: DeviceLoginDependencies;

  constructor(deps: DeviceLoginDependencies) {
    this.#deps = deps;
  }

  async use(caller: Caller, login: DeviceLogin): ReturnType<TrustedDeviceAuthority['use']> {
    const { devices, clock, digest, enabled, graceMs, trail } = this.#deps;
    const { realm, subject, token, client } = login;
    const call: DeviceCall = { caller, realm, subject, client };
    if (!enabled) return this.#refuse(call, 'DISABLED');
    // What asks does not ask for these; a second look costs nothing.
    if (login.purpose !== 'login') return this.#refuse(call, 'PURPOSE');
    if (login.sensitivity === 'critical') return this.#refuse(call, 'CRITICAL');
    if (!isDeviceToken(token)) return this.#refuse(call, 'TOKEN_INVALID');
    const next = successorOf(digest, token);
    const used = await devices.use({
      realm,
      subject,
      tokenDigest: tokenDigest(token),
      nextDigest: next.digest,
      graceMs,
      now: clock.now(),
      events: [deviceEvent(trail, 'device.used', call)],
      reusedEvents: [deviceEvent(trail, 'device.token_reused', call, { outcome: 'REFUSED', reason: 'TOKEN_REUSED' })],
    });
    switch (used.outcome) {
      case 'rotated':
        return { outcome: 'trusted', nextToken: next.token };
      case 'in_grace':
        // Once the successor was used as well, what the device holds is newer than anything to be made from this one.
        return { outcome: 'trusted', nextToken: used.device.tokenDigest === next.digest ? next.token : '' };
      case 'reused':
        this.#deps.log.error('a rotated token of a trusted device came again: somebody has a copy; it is revoked', {
          realm,
          device: used.device.id,
          correlationId: caller.correlationId,
        });
        return REFUSED;
      case 'unknown':
        return this.#refuse(call, 'TOKEN_INVALID');
    }
  }

  #refuse(call: DeviceCall, reason: string): typeof REFUSED {
    const { trail } = this.#deps;
    trail.refused(deviceEvent(trail, 'device.refused', call, { outcome: 'REFUSED', reason }));
    return REFUSED;
  }
}
