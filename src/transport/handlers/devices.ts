import { invalidFields } from '#src/domain/faults.ts';
import { isId } from '#src/domain/ids.ts';
import type { FactorService, RevokeTrustedDeviceRequest } from '#src/gen/sallyport/v1/factor_pb.js';
import type { TrustedDevices } from '#src/services/devices/trusted-devices.ts';
import type { Handlers } from '../call.ts';
import { type Realms, realmOf } from '../mapping/common.ts';
import { trustedDeviceToProto } from '../mapping/device.ts';

export interface DeviceHandlerDependencies {
  readonly devices: TrustedDevices;
  readonly realms: Realms;
}

export function deviceHandlers({
  devices,
  realms,
}: DeviceHandlerDependencies): Pick<
  Handlers<typeof FactorService>,
  'listTrustedDevices' | 'renameTrustedDevice' | 'revokeTrustedDevice'
> {
  return {
    async listTrustedDevices(request) {
      const held = await devices.list(realmOf(realms, request.realm), request.subject);
      return { devices: held.map(trustedDeviceToProto) };
    },

    async renameTrustedDevice(request, call) {
      const { subject, deviceId, displayName } = request;
      const realm = realmOf(realms, request.realm);
      const renamed = await devices.rename(call.caller, { realm, subject, deviceId, displayName });
      return { device: trustedDeviceToProto(renamed) };
    },

    async revokeTrustedDevice(request, call) {
      const { subject } = request;
      const command = { realm: realmOf(realms, request.realm), subject, deviceId: whichOf(request) };
      return { revoked: await devices.revoke(call.caller, command) };
    },
  };
}

/** '' for all; never by leaving something out. */
function whichOf({ all, deviceId }: RevokeTrustedDeviceRequest): string {
  if (all !== (deviceId === '')) {
    throw invalidFields([{ field: 'device_id', description: 'name one device, or set `all`, and not both' }]);
  }
  if (!all && !isId('device', deviceId)) {
    throw invalidFields([{ field: 'device_id', description: 'is not the id of a device' }]);
  }
  return deviceId;
}
