import type { MessageInitShape } from '@bufbuild/protobuf';
import type { FreezeReason as DomainFreeze, FactorSummary } from '#src/domain/factor.ts';
import { invalidFields } from '#src/domain/faults.ts';
import {
  type BeginEnrollmentRequest,
  type BeginEnrollmentResponseSchema,
  type ConfirmEnrollmentRequest,
  type FactorSchema,
  FactorState,
  FreezeReason,
  type GetMfaStatusResponseSchema,
  QrFormat,
} from '#src/gen/sallyport/v1/factor_pb.js';
import type { BeginCommand, BegunEnrollment } from '#src/services/factors/enrollment.ts';
import type { MfaStatus } from '#src/services/factors/mfa-status.ts';
import type { EnrollmentMaterial, EnrollmentProof } from '#src/services/methods/contract.ts';
import type { QrFormat as DrawnFormat, QrImages } from '../qr.ts';
import { clientFromProto, methodFromProto, methodToProto, type Realms, realmOf, timestampToProto } from './common.ts';

const FREEZE: Readonly<Record<DomainFreeze, FreezeReason>> = {
  NOT_ME: FreezeReason.NOT_ME,
  CONSENT_WITHDRAWN: FreezeReason.CONSENT_WITHDRAWN,
  ENDPOINT_GONE: FreezeReason.ENDPOINT_GONE,
};

export function factorToProto(factor: FactorSummary): MessageInitShape<typeof FactorSchema> {
  const { id, displayName, confirmedAt, lastUsedAt, codesLeft, freezeReason, maskedNumber } = factor;
  return {
    id,
    method: methodToProto(factor.method),
    displayName,
    state: stateToProto(factor),
    createTime: timestampToProto(factor.createdAt),
    ...(confirmedAt === undefined ? {} : { confirmTime: timestampToProto(confirmedAt) }),
    ...(lastUsedAt === undefined ? {} : { lastUseTime: timestampToProto(lastUsedAt) }),
    codesLeft,
    ...(freezeReason === undefined ? {} : { freezeReason: FREEZE[freezeReason] }),
    ...(maskedNumber === undefined ? {} : { maskedNumber }),
  };
}

function stateToProto({ state, freezeReason }: FactorSummary): FactorState {
  if (state === 'PENDING') return FactorState.PENDING;
  return freezeReason === undefined ? FactorState.ACTIVE : FactorState.FROZEN;
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
    phoneNumber: request.phoneNumber,
    pushSubscriptionJson: request.pushSubscriptionJson,
    devicePublicKey: request.devicePublicKey,
    temporaryPass: request.temporaryPass,
    language: request.language,
    client: clientFromProto(request.client),
    requestId,
  };
}

export function begunToProto(
  { factor, expiresAt, material }: BegunEnrollment,
  pictures: QrImages,
): MessageInitShape<typeof BeginEnrollmentResponseSchema> {
  return {
    factor: factorToProto(factor),
    expireTime: timestampToProto(expiresAt),
    material: materialToProto(material, pictures),
  };
}

function materialToProto(
  material: EnrollmentMaterial,
  { png, svg, terminal }: QrImages,
): NonNullable<MessageInitShape<typeof BeginEnrollmentResponseSchema>['material']> {
  switch (material.kind) {
    case 'totp': {
      const pictures = {
        ...(png === undefined ? {} : { qrPng: png }),
        ...(svg === undefined ? {} : { qrSvg: svg }),
        ...(terminal === undefined ? {} : { qrTerminal: terminal }),
      };
      const { keyUri, manualKey } = material;
      return { case: 'totp', value: { keyUri, manualKey, ...pictures } };
    }
    case 'sms':
      return { case: 'smsDestination', value: material.destination };
    case 'webauthn':
      return { case: 'webauthnOptionsJson', value: material.optionsJson };
    case 'push_challenge':
      return { case: 'pushChallenge', value: material.bytes };
    case 'push_link':
      return { case: 'pushEnrollmentUrl', value: material.url };
  }
}

/** Throws Fault(invalid, FIELD_INVALID) when there is none; whether it fits the method is the method's to say. */
export function enrollmentProofFromProto({ proof }: ConfirmEnrollmentRequest): EnrollmentProof {
  switch (proof.case) {
    case 'code':
      return { kind: 'code', code: proof.value };
    case 'webauthnCredentialJson':
      return { kind: 'webauthn', credentialJson: proof.value };
    case 'pushSignature':
      return { kind: 'push', signature: proof.value };
    default:
      throw invalidFields([{ field: 'proof', description: 'is required' }]);
  }
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
