import { create } from '@bufbuild/protobuf';
import { type TrustedDevice, TrustedDeviceSchema } from '#src/gen/sallyport/v1/factor_pb.js';
import type { DeviceView } from '#src/services/devices/trusted-devices.ts';
import { deviceToProto, timestampToProto } from './common.ts';

export function trustedDeviceToProto(view: DeviceView): TrustedDevice {
  return create(TrustedDeviceSchema, {
    id: view.id,
    displayName: view.displayName,
    device: deviceToProto(view.device),
    createTime: timestampToProto(view.createdAt),
    lastUseTime: timestampToProto(view.lastUsedAt),
    expireTime: timestampToProto(view.expiresAt),
  });
}
