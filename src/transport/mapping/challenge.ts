import type { MessageInitShape } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import type { Action as DomainAction } from '#src/domain/action.ts';
import { NO_CLIENT } from '#src/domain/caller.ts';
import type {
  ApprovalReason as DomainApproval,
  Challenge as DomainChallenge,
  Delivery as DomainDelivery,
  ChallengePurpose as DomainPurpose,
  ChallengeState as DomainState,
} from '#src/domain/challenge.ts';
import { invalidFields } from '#src/domain/faults.ts';
import type { Method as DomainMethod } from '#src/domain/method.ts';
import { type DurationMs, SECOND } from '#src/domain/time.ts';
import {
  ApprovalReason,
  ChallengePurpose,
  type ChallengeSchema,
  ChallengeState,
  type DeliverySchema,
  DeliveryStatus,
  type InterruptedSchema,
  type OpenChallengeRequest,
  type PromptSchema,
  type Proof,
  type ReceiptSchema,
  type RedeemReceiptRequest,
  type RedeemReceiptResponseSchema,
  RefusalReason,
  type RefusalSchema,
} from '#src/gen/sallyport/v1/challenge_pb.js';
import type { Action } from '#src/gen/sallyport/v1/common_pb.js';
import type { ChallengeRef } from '#src/services/challenges/challenge-access.ts';
import type { ChallengeView, IssuedReceipt } from '#src/services/challenges/challenges.ts';
import type { OpenCommand } from '#src/services/challenges/open-command.ts';
import type { Proof as DomainProof } from '#src/services/challenges/proof.ts';
import type { RedeemCommand } from '#src/services/challenges/redemption.ts';
import type { AnswerOutcome } from '#src/services/challenges/verification.ts';
import type { ReceiptClaims } from '#src/services/contracts.ts';
import type { PromptView } from '#src/services/methods/contract.ts';
import {
  clientFromProto,
  methodFromProto,
  methodToProto,
  type Realms,
  realmOf,
  sensitivityFromProto,
  sensitivityToProto,
  timestampToProto,
} from './common.ts';

const STATE: Readonly<Record<DomainState, ChallengeState>> = {
  PENDING: ChallengeState.PENDING,
  DELIVERED: ChallengeState.DELIVERED,
  SEEN: ChallengeState.SEEN,
  APPROVED: ChallengeState.APPROVED,
  DENIED: ChallengeState.DENIED,
  EXPIRED: ChallengeState.EXPIRED,
  CANCELLED: ChallengeState.CANCELLED,
  LOCKED: ChallengeState.LOCKED,
  SUPERSEDED: ChallengeState.SUPERSEDED,
};

const DELIVERY: Readonly<Record<DomainDelivery['status'], DeliveryStatus>> = {
  QUEUED: DeliveryStatus.QUEUED,
  SENT: DeliveryStatus.SENT,
  DELIVERED: DeliveryStatus.DELIVERED,
  FAILED: DeliveryStatus.FAILED,
  UNKNOWN: DeliveryStatus.UNKNOWN,
};

const PURPOSE: Readonly<Record<DomainPurpose, ChallengePurpose>> = {
  action: ChallengePurpose.ACTION,
  login: ChallengePurpose.LOGIN,
  factor_change: ChallengePurpose.FACTOR_CHANGE,
  step_up: ChallengePurpose.STEP_UP,
};
const PURPOSE_FROM_PROTO = new Map<ChallengePurpose, DomainPurpose>(
  Object.entries(PURPOSE).map(([name, value]) => [value, name as DomainPurpose]),
);

const APPROVAL: Readonly<Record<DomainApproval, ApprovalReason>> = {
  PROOF: ApprovalReason.PROOF,
  MFA_DISABLED: ApprovalReason.MFA_DISABLED,
  NOT_REQUIRED: ApprovalReason.NOT_REQUIRED,
  RECENT_MFA: ApprovalReason.RECENT_MFA,
  TRUSTED_DEVICE: ApprovalReason.TRUSTED_DEVICE,
};

const REFUSAL = {
  PROOF_WRONG: RefusalReason.PROOF_WRONG,
  PROOF_REPLAYED: RefusalReason.PROOF_REPLAYED,
  LOCKED: RefusalReason.LOCKED,
} as const;

/** What is approved when the caller names no action. */
const OWN_ACTION: Readonly<Record<'login' | 'step_up', DomainAction>> = {
  login: { resource: 'sessions', action: 'session.create', details: new Map() },
  step_up: { resource: 'sessions', action: 'session.step_up', details: new Map() },
};

function actionFromProto(action: Action): DomainAction {
  return { resource: action.resource, action: action.action, details: new Map(Object.entries(action.details)) };
}

function actionFor(purpose: DomainPurpose, action: Action | undefined): DomainAction {
  if (action) return actionFromProto(action);
  if (purpose === 'login' || purpose === 'step_up') return OWN_ACTION[purpose];
  throw invalidFields([{ field: 'action', description: 'is required, except to sign in or to step up a session' }]);
}

export function openCommandFromProto(realms: Realms, request: OpenChallengeRequest): OpenCommand {
  const purpose = PURPOSE_FROM_PROTO.get(request.purpose) ?? 'action';
  return {
    realm: realmOf(realms, request.realm),
    subject: request.subject,
    sessionToken: request.sessionToken,
    purpose,
    action: actionFor(purpose, request.action),
    sensitivity: sensitivityFromProto(request.sensitivity),
    methods: request.methods.map(namedMethod),
    audience: request.audience,
    client: request.client ? clientFromProto(request.client) : NO_CLIENT,
    requestId: request.requestId,
    method: methodFromProto(request.method),
    trustedDeviceToken: request.trustedDeviceToken,
    language: request.language,
  };
}

/** A list that narrows must not widen by an entry that says nothing. */
function namedMethod(value: OpenChallengeRequest['method']): DomainMethod {
  const method = methodFromProto(value);
  if (method === undefined) throw invalidFields([{ field: 'methods', description: 'must name methods' }]);
  return method;
}

export function refFromProto(
  realms: Realms,
  request: { readonly realm: string; readonly challengeId: string; readonly sessionToken: string },
): ChallengeRef {
  const { challengeId, sessionToken } = request;
  return { realm: realmOf(realms, request.realm), challengeId, sessionToken };
}

/** Throws Fault(invalid, FIELD_INVALID) when there is no proof at all; whatever else is wrong with it is a wrong proof. */
export function proofFromProto(proof: Proof | undefined): DomainProof {
  const kind = proof?.kind;
  switch (kind?.case) {
    case 'totp':
      return { kind: 'totp', code: kind.value.code, nextCode: kind.value.nextCode };
    case 'sms':
      return { kind: 'sms', code: kind.value.code };
    case 'backupCode':
      return { kind: 'backup_code', code: kind.value.code };
    case 'webauthn':
      return { kind: 'webauthn', credentialJson: kind.value.credentialJson };
    case 'push': {
      const { factorId, number, approve, notMe, signature } = kind.value;
      return { kind: 'push', factorId, number, approve, notMe, signature };
    }
    default:
      throw invalidFields([{ field: 'proof.kind', description: 'is required' }]);
  }
}

export function redeemCommandFromProto(realms: Realms, request: RedeemReceiptRequest): RedeemCommand {
  if (!request.action) throw invalidFields([{ field: 'action', description: 'is required' }]);
  return {
    realm: realmOf(realms, request.realm),
    receipt: request.receipt,
    subject: request.subject,
    sessionToken: request.sessionToken,
    action: actionFromProto(request.action),
    audience: request.audience,
    requestId: request.requestId,
  };
}

export function challengeToProto(challenge: DomainChallenge): MessageInitShape<typeof ChallengeSchema> {
  const { settledAt, approvalReason } = challenge;
  return {
    id: challenge.id,
    realm: challenge.realm,
    subject: challenge.subject,
    sessionId: challenge.sessionId,
    purpose: PURPOSE[challenge.purpose],
    action: {
      resource: challenge.action.resource,
      action: challenge.action.action,
      details: Object.fromEntries(challenge.action.details),
      digest: challenge.actionDigest,
    },
    sensitivity: sensitivityToProto(challenge.sensitivity),
    state: STATE[challenge.state],
    approvalReason: approvalReason === undefined ? ApprovalReason.UNSPECIFIED : APPROVAL[approvalReason],
    methods: challenge.offers.map((offer) => ({ ...offer, method: methodToProto(offer.method) })),
    chosenMethod: methodToProto(challenge.chosenMethod),
    provenMethod: methodToProto(challenge.provenMethod),
    policyRule: challenge.policyRule,
    createTime: timestampToProto(challenge.createdAt),
    expireTime: timestampToProto(challenge.expiresAt),
    ...(settledAt === undefined ? {} : { settleTime: timestampToProto(settledAt) }),
    ...(challenge.delivery ? { delivery: deliveryToProto(challenge.delivery, challenge) } : {}),
  };
}

/** Where it did not arrive, takes long, or nobody knows, it says what else there is. */
function deliveryToProto(
  { method, factorId, status, reason, resendable, at }: DomainDelivery,
  { offers }: DomainChallenge,
): MessageInitShape<typeof DeliverySchema> {
  const others = offers.map((offer) => offer.method).filter((other) => other !== method);
  const troubled = status === 'FAILED' || status === 'UNKNOWN' || (status === 'QUEUED' && reason !== '');
  return {
    method: methodToProto(method),
    factorId,
    status: DELIVERY[status],
    reason,
    resendable,
    updateTime: timestampToProto(at),
    instead: troubled ? [...new Set(others)].map(methodToProto) : [],
  };
}

function receiptToProto(receipt: IssuedReceipt): MessageInitShape<typeof ReceiptSchema> {
  return { token: receipt.token, expireTime: timestampToProto(receipt.expiresAt) };
}

/** The challenge, and the receipt if there is one: a Finished, and the like-named fields of other messages. */
export function viewToProto(view: ChallengeView): {
  challenge: MessageInitShape<typeof ChallengeSchema>;
  receipt?: MessageInitShape<typeof ReceiptSchema>;
} {
  const challenge = challengeToProto(view.challenge);
  return view.receipt ? { challenge, receipt: receiptToProto(view.receipt) } : { challenge };
}

export function promptToProto(prompt: PromptView): MessageInitShape<typeof PromptSchema> {
  const { number, destination, webauthnOptionsJson } = prompt;
  return {
    method: methodToProto(prompt.method),
    factorId: prompt.factorId,
    ...(number === undefined ? {} : { number }),
    ...(destination === undefined ? {} : { destination }),
    ...(webauthnOptionsJson === undefined ? {} : { webauthnOptionsJson }),
  };
}

export function refusalToProto(
  refused: Extract<AnswerOutcome, { readonly outcome: 'refused' }>,
): MessageInitShape<typeof RefusalSchema> {
  const reason = refused.reason === undefined ? RefusalReason.UNSPECIFIED : REFUSAL[refused.reason];
  return { attemptsLeft: refused.attemptsLeft, reason };
}

export function heartbeatToProto(remainingMs: DurationMs) {
  return { remaining: durationFromMs(remainingMs) };
}

export function interruptedToProto(challengeId: string): MessageInitShape<typeof InterruptedSchema> {
  return { challengeId, retryDelay: durationFromMs(SECOND) };
}

export function claimsToProto(claims: ReceiptClaims): MessageInitShape<typeof RedeemReceiptResponseSchema> {
  const reason = APPROVAL[claims.approvalReason as DomainApproval] ?? ApprovalReason.UNSPECIFIED;
  return {
    challengeId: claims.challengeId,
    subject: claims.subject,
    sessionId: claims.sessionId,
    amr: [...claims.amr],
    acr: claims.acr,
    approvalReason: reason,
    approveTime: timestampToProto(claims.approvedAt),
  };
}
