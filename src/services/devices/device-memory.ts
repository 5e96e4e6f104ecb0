import type { Caller, ClientContext } from '#src/domain/caller.ts';
import { newDeviceToken } from '#src/domain/device-token.ts';
import { newId } from '#src/domain/ids.ts';
import { tokenDigest } from '#src/domain/opaque-token.ts';
import type { Device } from '#src/domain/session.ts';
import type { DurationMs, EpochMs } from '#src/domain/time.ts';
import { deviceBinding, type TrustedDevice } from '#src/domain/trusted-device.ts';
import type { Random, SecretBox } from '#src/ports/runtime.ts';
import type { DevicesWithSession } from '#src/ports/session-store.ts';
import type { ReceiptClaims } from '../contracts.ts';
import type { Trail } from '../trail.ts';
import { type DeviceCall, deviceEvent } from './device-trail.ts';

export interface DeviceMemoryOptions {
  /** Whether devices are remembered at all. */
  readonly enabled: boolean;
  /** From when it is remembered; never moves. */
  readonly lifeMs: DurationMs;
  /** Beyond it the least recently used device of a person is forgotten. */
  readonly maxDevices: number;
}

export interface DeviceMemoryDependencies extends DeviceMemoryOptions {
  readonly secrets: SecretBox;
  readonly trail: Trail;
  readonly random: Random;
}

/** A sign-in as far as it matters for what is remembered. */
export interface SignIn {
  readonly caller: Caller;
  readonly realm: string;
  readonly subject: string;
  readonly client: ClientContext;
  /** What is known of the connection. */
  readonly device: Device;
  /** The checked receipt of the login, if there was one. */
  readonly proof: ReceiptClaims | undefined;
  /** The person's explicit choice. */
  readonly remember: boolean;
  /** '' for one made of browser and system. */
  readonly name: string;
  readonly now: EpochMs;
}

/** A device's token, to be shown this once. */
export interface DeviceGrant {
  readonly token: string;
  readonly expiresAt: EpochMs;
}

export interface SignInDevices {
  /** Goes into the unit that creates the session. */
  readonly command?: DevicesWithSession;
  readonly grant?: DeviceGrant;
}

/** Decides what a sign-in does to the devices that are remembered. */
export class DeviceMemory {
  readonly #deps: DeviceMemoryDependencies;

  constructor(deps: DeviceMemoryDependencies) {
    this.#deps = deps;
  }

  /**
   * Remembers the device when the person asked for it and proved themselves by a factor for this very sign-in. A backup
   * code is for getting back in after a loss: it makes no trust, and forgets what was trusted before.
   */
  at(signIn: SignIn): SignInDevices {
    const { enabled, trail } = this.#deps;
    const { proof, remember } = signIn;
    const isProven = proof?.approvalReason === 'PROOF' && proof.method !== undefined;
    if (isProven && proof.method === 'backup_code') return this.#forget(signIn);
    if (!remember) return {};
    if (enabled && isProven) return this.#trust(signIn);
    const reason = enabled ? 'NOT_PROVEN' : 'DISABLED';
    trail.refused(deviceEvent(trail, 'device.refused', callOf(signIn), { outcome: 'REFUSED', reason }));
    return {};
  }

  #trust(signIn: SignIn): SignInDevices {
    const { lifeMs, maxDevices, random, secrets, trail } = this.#deps;
    const { realm, subject, device: connection, name, now } = signIn;
    const token = newDeviceToken(random.bytes(32));
    const row = { id: newId('device', random.bytes(16)), realm, subject };
    const device: TrustedDevice = {
      ...row,
      tokenDigest: tokenDigest(token),
      displayName: name === '' ? nameOf(connection) : name,
      sealedConnection: secrets.seal(Buffer.from(JSON.stringify(connection), 'utf8'), deviceBinding(row)),
      createdAt: now,
      lastUsedAt: now,
      expiresAt: now + lifeMs,
    };
    const event = deviceEvent(trail, 'device.trusted', { ...callOf(signIn), deviceId: row.id });
    return {
      command: { kind: 'trust', device, maxDevices, events: [event] },
      grant: { token, expiresAt: device.expiresAt },
    };
  }

  #forget(signIn: SignIn): SignInDevices {
    const fields = { reason: 'FACTOR_CHANGE', facts: { with: 'backup_code' } };
    const event = deviceEvent(this.#deps.trail, 'device.revoked', callOf(signIn), fields);
    return { command: { kind: 'forget', events: [event] } };
  }
}

function callOf({ caller, realm, subject, client }: SignIn): DeviceCall {
  return { caller, realm, subject, client };
}

/** Names of browser and system without versions, which change. */
function nameOf({ browser, operatingSystem }: Device): string {
  const parts = [browser, operatingSystem].map((part) => part.replace(/ [\d.]+$/, '')).filter((part) => part !== '');
  return parts.length === 0 ? 'A browser' : parts.join(' on ').slice(0, 64);
}
