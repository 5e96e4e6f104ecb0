import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { RiskSignal as DomainSignal } from '#src/domain/risk.ts';
import type { EndReason as DomainReason, Session as DomainSession, Revocation } from '#src/domain/session.ts';
import {
  EndReason,
  type RevocationSchema,
  RiskSignal,
  type Session,
  SessionSchema,
  SessionState,
  type ValidateSessionResponse,
  ValidateSessionResponseSchema,
} from '#src/gen/sallyport/v1/session_pb.js';
import type { ValidSession } from '#src/services/sessions/session-cache.ts';
import { sharedReply } from '../shared-reply.ts';
import { deviceToProto, timestampToProto } from './common.ts';

const END_REASON: Readonly<Record<DomainReason, EndReason>> = {
  LOGOUT: EndReason.LOGOUT,
  REVOKED: EndReason.REVOKED,
  OPERATOR: EndReason.OPERATOR,
  EVICTED: EndReason.EVICTED,
  EXPIRED: EndReason.EXPIRED,
  IDLE: EndReason.IDLE,
  HIJACK: EndReason.HIJACK,
  FACTOR_CHANGE: EndReason.FACTOR_CHANGE,
  ERASED: EndReason.ERASED,
};

const RISK_SIGNAL: Readonly<Record<DomainSignal, RiskSignal>> = {
  ADDRESS_CHANGED: RiskSignal.ADDRESS_CHANGED,
  AGENT_CHANGED: RiskSignal.AGENT_CHANGED,
  DEVICE_CHANGED: RiskSignal.DEVICE_CHANGED,
  IMPOSSIBLE_TRAVEL: RiskSignal.IMPOSSIBLE_TRAVEL,
  ADDRESS_UNKNOWN: RiskSignal.ADDRESS_UNKNOWN,
};

export function sessionToProto(session: DomainSession): Session {
  const { endReason } = session;
  return create(SessionSchema, {
    id: session.id,
    realm: session.realm,
    subject: session.subject,
    state: stateOf(endReason),
    device: deviceToProto(session.device),
    amr: [...session.amr],
    acr: session.acr,
    ...(session.mfaAt === undefined ? {} : { mfaTime: timestampToProto(session.mfaAt) }),
    createTime: timestampToProto(session.createdAt),
    lastUseTime: timestampToProto(session.lastUsedAt),
    expireTime: timestampToProto(session.expiresAt),
    idleExpireTime: timestampToProto(Math.min(session.expiresAt, session.lastUsedAt + session.idleMs)),
    endReason: endReason === undefined ? EndReason.UNSPECIFIED : END_REASON[endReason],
    ...(session.endedAt === undefined ? {} : { endTime: timestampToProto(session.endedAt) }),
    labels: { ...session.labels },
  });
}

/** Messages by the answer they say: a warm answer is the same object again, and building is most of the work. */
const ANSWERS = new WeakMap<ValidSession, ValidateSessionResponse>();

/** Shared between calls: nobody may change it. */
export function validSessionToProto(valid: ValidSession): ValidateSessionResponse {
  const known = ANSWERS.get(valid);
  if (known) return known;
  const made = sharedReply(
    create(ValidateSessionResponseSchema, {
      session: sessionToProto(valid.session),
      signals: valid.signals.map((signal) => RISK_SIGNAL[signal]),
      stepUpRequired: valid.stepUpRequired,
    }),
  );
  ANSWERS.set(valid, made);
  return made;
}

export function revocationToProto(revocation: Revocation): MessageInitShape<typeof RevocationSchema> {
  return {
    sessionId: revocation.sessionId,
    subject: revocation.subject,
    reason: END_REASON[revocation.reason],
    endTime: timestampToProto(revocation.endedAt),
  };
}

function stateOf(endReason: DomainReason | undefined): SessionState {
  if (endReason === undefined) return SessionState.ACTIVE;
  return endReason === 'EXPIRED' || endReason === 'IDLE' ? SessionState.EXPIRED : SessionState.REVOKED;
}
