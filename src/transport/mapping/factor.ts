import type { MessageInitShape } from '@bufbuild/protobuf';
import type { FactorState as DomainState, FactorSummary } from '#src/domain/factor.ts';
import {
  type BeginEnrollmentRequest,
  type BeginEnrollmentResponseSchema,
  type FactorSchema,
  FactorState,
  type GetMfaStatusResponseSchema,
  QrFormat,
} from '#src/gen/sallyport/v1/factor_pb.js';
import type { BeginCommand, BegunEnrollment } from '#src/services/factors/enrollment.ts';
import type { MfaStatus } from '#src/services/factors/mfa-status.ts';
import type { QrFormat as DrawnFormat, QrImages } from '../qr.ts';
import { clientFromProto, methodFromProto, methodToProto, type Realms, realmOf, timestampToProto } from './common.ts';

const STATE_TO_PROTO: Readonly<Record<DomainState, FactorState>> = {
  PENDING: FactorState.PENDING,
  ACTIVE: FactorState.ACTIVE,
};

export function factorToProto(factor: FactorSummary): MessageInitShape<typeof FactorSchema> {
  const { id, displayName, confirmedAt, lastUsedAt, codesLeft } = factor;
  return {
    id,
    method: methodToProto(factor.method),
    displayName,
    state: STATE_TO_PROTO[factor.state],
    createTime: timestampToProto(factor.createdAt),
    ...(confirmedAt === undefined ? {} : { confirmTime: timestampToProto(confirmedAt) }),
    ...(lastUsedAt === undefined ? {} : { lastUseTime: timestampToProto(lastUsedAt) }),
    codesLeft,
  };
}

/** undefined where no method is named; the field rules refuse that before. */
export function beginFromProto(realms: Realms, request: BeginEnrollmentRequest): BeginCommand | undefined {
  const { subject, displayName, sessionToken, receipt, replaces, consent, accountName, requestId } = request;
  const method = methodFromProto(request.method);
  if (method === undefined) return undefined;
  return {
    realm: realmOf(realms, request.realm),
    subject,
    method,
    displayName,
    sessionToken,
    receipt,
    replaces,
    consent: consent && { textVersion: consent.textVersion, language: consent.language },
    accountName,
    client: clientFromProto(request.client),
    requestId,
  };
}

export function begunToProto(
  { factor, expiresAt, keyUri, manualKey }: BegunEnrollment,
  { png, svg, terminal }: QrImages,
): MessageInitShape<typeof BeginEnrollmentResponseSchema> {
  const pictures = {
    ...(png === undefined ? {} : { qrPng: png }),
    ...(svg === undefined ? {} : { qrSvg: svg }),
    ...(terminal === undefined ? {} : { qrTerminal: terminal }),
  };
  return {
    factor: factorToProto(factor),
    expireTime: timestampToProto(expiresAt),
    material: { case: 'totp', value: { keyUri, manualKey, ...pictures } },
  };
}

const FORMAT_FROM_PROTO = new Map<QrFormat, DrawnFormat>([
  [QrFormat.PNG, 'png'],
  [QrFormat.SVG, 'svg'],
  [QrFormat.TERMINAL, 'terminal'],
]);

/** Each format once, however often it is asked for. */
export function qrFormatsFromProto(formats: readonly QrFormat[]): readonly DrawnFormat[] {
  return [...FORMAT_FROM_PROTO].filter(([proto]) => formats.includes(proto)).map(([, format]) => format);
}

export function statusToProto(status: MfaStatus): MessageInitShape<typeof GetMfaStatusResponseSchema> {
  const { mfaEnabled, enrolled, backupCodesLeft, lockedUntil, hardLocked } = status;
  return {
    mfaEnabled,
    enrolled,
    usableMethods: status.usableMethods.map(methodToProto),
    availableMethods: status.availableMethods.map(methodToProto),
    backupCodesLeft,
    ...(lockedUntil === undefined ? {} : { lockedUntil: timestampToProto(lockedUntil) }),
    hardLocked,
  };
}
