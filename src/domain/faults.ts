import type { DurationMs } from './time.ts';

/**
 * What kind of thing went wrong. Kinds map one to one to gRPC codes, in transport/errors.ts and nowhere else.
 * Expected outcomes (a wrong code, an expired challenge) are values of the services, never faults.
 */
export type FaultKind =
  | 'invalid' // INVALID_ARGUMENT
  | 'unauthenticated' // UNAUTHENTICATED
  | 'denied' // PERMISSION_DENIED
  | 'not-found' // NOT_FOUND
  | 'exists' // ALREADY_EXISTS
  | 'precondition' // FAILED_PRECONDITION
  | 'limited' // RESOURCE_EXHAUSTED
  | 'out-of-range' // OUT_OF_RANGE
  | 'unavailable' // UNAVAILABLE
  | 'deadline' // DEADLINE_EXCEEDED
  | 'cancelled' // CANCELLED
  | 'unimplemented' // UNIMPLEMENTED
  | 'data-loss' // DATA_LOSS
  | 'internal'; // INTERNAL

/** The catalogue of machine-readable reasons: the names of `sallyport.v1.Reason` without their prefix. */
export type Reason =
  | 'FIELD_INVALID'
  | 'CLIENT_HEADER_MISSING'
  | 'REQUEST_ID_REUSED'
  | 'TOKEN_INVALID'
  | 'REALM_UNKNOWN'
  | 'STREAM_ORDER'
  | 'CALLER_UNKNOWN'
  | 'SESSION_INVALID'
  | 'ROLE_MISSING'
  | 'NOT_OWNER'
  | 'RECEIPT_MISMATCH'
  | 'POLICY_DENIED'
  | 'CHALLENGE_FAILED'
  | 'CHALLENGE_NOT_FOUND'
  | 'FACTOR_NOT_FOUND'
  | 'SESSION_NOT_FOUND'
  | 'DEVICE_NOT_FOUND'
  | 'EVENT_NOT_FOUND'
  | 'MFA_NOT_ENROLLED'
  | 'CHALLENGE_ENDED'
  | 'CHALLENGE_NOT_APPROVED'
  | 'RECEIPT_REDEEMED'
  | 'RECEIPT_INVALID'
  | 'STEP_UP_REQUIRED'
  | 'SESSION_TOO_OLD'
  | 'LAST_FACTOR'
  | 'FACTOR_STATE'
  | 'METHOD_NOT_OFFERED'
  | 'CONSENT_REQUIRED'
  | 'SESSION_LIMIT'
  | 'FACTOR_EXISTS'
  | 'ENROLLMENT_EXPIRED'
  | 'PROOF_REFUSED'
  | 'PASS_REQUIRED'
  | 'FACTOR_FROZEN'
  | 'SUBJECT_LOCKED'
  | 'LIMIT_EXCEEDED'
  | 'READER_TOO_SLOW'
  | 'CURSOR_EXPIRED'
  | 'STORE_UNAVAILABLE'
  | 'AUDIT_UNAVAILABLE'
  | 'SHUTTING_DOWN'
  | 'DEADLINE_EXCEEDED'
  | 'CANCELLED'
  | 'NOT_IMPLEMENTED'
  | 'DELIVERY_FAILED'
  | 'INTERNAL'
  | 'INTEGRITY';

export interface FieldViolation {
  /** Path as in the proto, for instance `action.details`. */
  readonly field: string;
  readonly description: string;
}

export interface FaultDetails {
  /** Every variable of the message, with camelCase keys; shown to the caller. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** google.rpc.RetryInfo. */
  readonly retryAfterMs?: DurationMs;
  /** google.rpc.BadRequest; only with `invalid`. */
  readonly violations?: readonly FieldViolation[];
  /** google.rpc.PreconditionFailure; only with `precondition`. */
  readonly preconditions?: readonly { readonly type: string; readonly subject: string; readonly description: string }[];
  /** google.rpc.QuotaFailure; only with `limited`. */
  readonly quota?: { readonly subject: string; readonly description: string };
  /** For the log only; never sent. */
  readonly cause?: unknown;
}

/** A fault that ends a call. `message` is safe to show to the caller and says what to do next where something can be done. */
export class Fault extends Error {
  override readonly name = 'Fault';
  readonly kind: FaultKind;
  readonly reason: Reason;
  readonly details: FaultDetails;

  constructor(kind: FaultKind, reason: Reason, message: string, details: FaultDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.kind = kind;
    this.reason = reason;
    this.details = details;
  }
}

/** A fault for one or more fields that break their rule. */
export function invalidFields(violations: readonly FieldViolation[]): Fault {
  const [first] = violations;
  const message = first ? `${first.field}: ${first.description}` : 'invalid request';
  return new Fault('invalid', 'FIELD_INVALID', message, { violations, metadata: first ? { field: first.field } : {} });
}
