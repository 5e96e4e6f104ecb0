import type { Caller } from '#src/domain/caller.ts';
import { Fault } from '#src/domain/faults.ts';
import { isId } from '#src/domain/ids.ts';
import type { Device } from '#src/domain/session.ts';
import { type DeviceRevocation, deviceBinding, type TrustedDevice } from '#src/domain/trusted-device.ts';
import type { Clock, SecretBox } from '#src/ports/runtime.ts';
import type { TrustedDeviceStore } from '#src/ports/trusted-device-store.ts';
import type { Trail } from '../trail.ts';
import { deviceEvent } from './device-trail.ts';

/** A trusted device as callers may see it. */
export type DeviceView = Pick<TrustedDevice, 'id' | 'displayName' | 'createdAt' | 'lastUsedAt' | 'expiresAt'> & {
  /** The connection that it was trusted from. */
  readonly device: Device;
};

export interface TrustedDevicesDependencies {
  readonly devices: Pick<TrustedDeviceStore, 'list' | 'rename' | 'revoke'>;
  readonly secrets: SecretBox;
  readonly trail: Trail;
  readonly clock: Clock;
}

/** Lists, names and forgets the devices of a person. None of it grants anything, so none of it takes a proof. */
export class TrustedDevices {
  readonly #deps: TrustedDevicesDependencies;

  constructor(deps: TrustedDevicesDependencies) {
    this.#deps = deps;
  }

  /** Live ones, most recently used first. Throws Fault(data-loss, INTEGRITY). */
  async list(realm: string, subject: string): Promise<readonly DeviceView[]> {
    const { clock, devices } = this.#deps;
    return (await devices.list(realm, subject, clock.now())).map((device) => this.#view(device));
  }

  /** Throws Fault(not-found, DEVICE_NOT_FOUND), also for one of somebody else. */
  async rename(
    caller: Caller,
    command: {
      readonly realm: string;
      readonly subject: string;
      readonly deviceId: string;
      readonly displayName: string;
    },
  ): Promise<DeviceView> {
    const { clock, devices, trail } = this.#deps;
    const call = { caller, ...command };
    if (!isId('device', command.deviceId)) throw notFound();
    const events = [deviceEvent(trail, 'device.renamed', call)];
    const device = await devices.rename({ ...command, now: clock.now(), events });
    if (!device) throw notFound();
    return this.#view(device);
  }

  /**
   * Forgets one device, or with '' all of the person's; answers how many were forgotten by this call. Forgetting what is
   * forgotten changes nothing.
   */
  async revoke(
    caller: Caller,
    command: {
      readonly realm: string;
      readonly subject: string;
      readonly deviceId: string;
      readonly reason?: DeviceRevocation;
    },
  ): Promise<number> {
    const { clock, devices, trail } = this.#deps;
    const { realm, subject, deviceId, reason = 'REVOKED' } = command;
    const call = { caller, realm, subject, ...(deviceId === '' ? {} : { deviceId }) };
    const events = [deviceEvent(trail, 'device.revoked', call, { reason })];
    return await devices.revoke({ realm, subject, deviceId, reason, now: clock.now(), events });
  }

  #view(stored: TrustedDevice): DeviceView {
    const { id, displayName, createdAt, lastUsedAt, expiresAt } = stored;
    const opened = this.#deps.secrets.open(stored.sealedConnection, deviceBinding(stored));
    const device = JSON.parse(Buffer.from(opened).toString('utf8')) as Device;
    return { id, displayName, createdAt, lastUsedAt, expiresAt, device };
  }
}

function notFound(): Fault {
  return new Fault('not-found', 'DEVICE_NOT_FOUND', 'device_id: the person has no such device');
}
