import type { MessageInitShape } from '@bufbuild/protobuf';
import { type Timestamp, type TimestampSchema, timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import type { Sensitivity as DomainSensitivity } from '#src/domain/action.ts';
import { type ClientContext as DomainClient, NO_CLIENT } from '#src/domain/caller.ts';
import { Fault } from '#src/domain/faults.ts';
import type { Method as DomainMethod } from '#src/domain/method.ts';
import type { Device } from '#src/domain/session.ts';
import type { EpochMs } from '#src/domain/time.ts';
import { type ClientContext, type DeviceInfoSchema, Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';

/** The realms this sidecar serves; the first is the default. */
export interface Realms {
  readonly names: ReadonlySet<string>;
  readonly defaultRealm: string;
}

/** The realm a request names, or the default. Throws Fault(invalid, REALM_UNKNOWN). */
export function realmOf(realms: Realms, name: string): string {
  if (name === '') return realms.defaultRealm;
  if (realms.names.has(name)) return name;
  throw new Fault(
    'invalid',
    'REALM_UNKNOWN',
    'realm: not served here; name one of the configured realms or leave it empty',
    {
      violations: [{ field: 'realm', description: 'is not one of the realms of this sidecar' }],
    },
  );
}

const METHOD_TO_PROTO: Readonly<Record<DomainMethod, Method>> = {
  totp: Method.TOTP,
  sms: Method.SMS,
  push: Method.PUSH,
  webauthn: Method.WEBAUTHN,
  backup_code: Method.BACKUP_CODE,
};
const METHOD_FROM_PROTO = new Map<Method, DomainMethod>(
  Object.entries(METHOD_TO_PROTO).map(([name, value]) => [value, name as DomainMethod]),
);

export function methodToProto(method: DomainMethod | undefined): Method {
  return method === undefined ? Method.UNSPECIFIED : METHOD_TO_PROTO[method];
}

/** undefined for UNSPECIFIED; unknown numbers were refused by the field rules. */
export function methodFromProto(method: Method): DomainMethod | undefined {
  return METHOD_FROM_PROTO.get(method);
}

const SENSITIVITY_FROM_PROTO = new Map<Sensitivity, DomainSensitivity>([
  [Sensitivity.LOW, 'low'],
  [Sensitivity.NORMAL, 'normal'],
  [Sensitivity.SENSITIVE, 'sensitive'],
  [Sensitivity.CRITICAL, 'critical'],
]);
const SENSITIVITY_TO_PROTO = new Map([...SENSITIVITY_FROM_PROTO].map(([proto, name]) => [name, proto]));

export function sensitivityFromProto(value: Sensitivity): DomainSensitivity | undefined {
  return SENSITIVITY_FROM_PROTO.get(value);
}

export function sensitivityToProto(value: DomainSensitivity): Sensitivity {
  return SENSITIVITY_TO_PROTO.get(value) ?? Sensitivity.UNSPECIFIED;
}

export function clientFromProto(client: ClientContext | undefined): DomainClient {
  return client ? { ipAddress: client.ipAddress, userAgent: client.userAgent, deviceId: client.deviceId } : NO_CLIENT;
}

/** Undefined stays unset, for use with `exactOptionalPropertyTypes`. */
export function timestampToProto(at: EpochMs): MessageInitShape<typeof TimestampSchema> {
  return timestampFromMs(at);
}

export function timestampFromProto(at: Timestamp | undefined): EpochMs | undefined {
  return at === undefined ? undefined : timestampMs(at);
}

export function deviceToProto(device: Device): MessageInitShape<typeof DeviceInfoSchema> {
  const { location, ...rest } = device;
  return location ? { ...rest, location } : rest;
}
