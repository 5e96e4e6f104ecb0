import { create, type DescMessage, type Message, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { Fault, type FaultKind } from '../domain/faults.ts';
import {
  BadRequestSchema,
  ErrorInfoSchema,
  PreconditionFailureSchema,
  QuotaFailureSchema,
  RetryInfoSchema,
} from '../gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '../gen/google/rpc/status_pb.js';
import type { Log } from '../ports/telemetry.ts';

/** `google.rpc.ErrorInfo.domain` of every error. */
export const ERROR_DOMAIN = 'sallyport';

/** gRPC codes by fault kind (google/rpc/code.proto). Nothing else in the product knows them. */
const CODES: Readonly<Record<FaultKind, number>> = {
  cancelled: 1,
  invalid: 3,
  deadline: 4,
  'not-found': 5,
  exists: 6,
  denied: 7,
  limited: 8,
  precondition: 9,
  'out-of-range': 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  'data-loss': 15,
  unauthenticated: 16,
};

export const CODE_OK = 0;

/** Names of the gRPC codes by number, for metrics and logs. */
export const CODE_NAMES: readonly string[] = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
];

/** Codes that mean the server failed, not the request (OpenTelemetry semantic conventions for gRPC). */
const SERVER_ERRORS: ReadonlySet<number> = new Set([2, 4, 12, 13, 14, 15]);

/** `error.type` of a final status: its name if it is the server's own failure, else ''. */
export function errorTypeOf(code: number): string {
  return SERVER_ERRORS.has(code) ? (CODE_NAMES[code] ?? 'UNKNOWN') : '';
}

// Clients cap metadata near 8 KiB, so what a request can make longer is bounded here.
const MAX_MESSAGE = 512;
const MAX_VALUE = 256;
const MAX_VIOLATIONS = 8;
const MAX_NAME = 96;
const MAX_WORDS = 128;

/** A fault as it goes over the wire, the same for every protocol. */
export interface WireError {
  readonly code: number;
  /** Well-formed and bounded. */
  readonly message: string;
  /** One ErrorInfo first, then at most one of each other type. */
  readonly details: readonly ErrorDetail[];
}

export interface ErrorDetail {
  readonly desc: DescMessage;
  readonly value: Message;
}

export function toWireError(fault: Fault): WireError {
  const { metadata = {}, retryAfterMs, violations, preconditions, quota } = fault.details;
  const details: ErrorDetail[] = [
    detail(ErrorInfoSchema, {
      reason: fault.reason,
      domain: ERROR_DOMAIN,
      metadata: Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, bounded(value)])),
    }),
  ];
  if (retryAfterMs !== undefined) {
    const whole = Math.max(0, Math.ceil(retryAfterMs));
    const retryDelay = { seconds: BigInt(Math.floor(whole / 1000)), nanos: (whole % 1000) * 1_000_000 };
    details.push(detail(RetryInfoSchema, { retryDelay }));
  }
  if (quota) {
    const { subject, description } = quota;
    details.push(detail(QuotaFailureSchema, { violations: [{ subject: bounded(subject), description }] }));
  }
  if (violations && violations.length > 0) {
    const fieldViolations = violations.slice(0, MAX_VIOLATIONS).map(({ field, description }) => ({
      field: bounded(field, MAX_NAME),
      description: bounded(description, MAX_WORDS),
    }));
    details.push(detail(BadRequestSchema, { fieldViolations }));
  }
  if (preconditions && preconditions.length > 0) {
    details.push(
      detail(PreconditionFailureSchema, {
        violations: preconditions.slice(0, MAX_VIOLATIONS).map((one) => ({
          type: one.type,
          subject: bounded(one.subject, MAX_NAME),
          description: bounded(one.description, MAX_WORDS),
        })),
      }),
    );
  }
  return { code: CODES[fault.kind], message: bounded(fault.message, MAX_MESSAGE), details };
}

/** The bytes of google.rpc.Status, for `grpc-status-details-bin`. */
export function statusBytes(error: WireError): Uint8Array {
  return toBinary(
    StatusSchema,
    create(StatusSchema, {
      code: error.code,
      message: error.message,
      details: error.details.map(({ desc, value }) => anyPack(desc, value)),
    }),
  );
}

export function codeOf(fault: Fault): number {
  return CODES[fault.kind];
}

/**
 * What a handler threw, as a fault that is safe to show. Anything but a Fault becomes an opaque INTERNAL whose `errorId`
 * is the correlation id of the call, under which the cause is in the log.
 */
export function toFault(thrown: unknown, procedure: string, correlationId: string, log: Log): Fault {
  const fault = thrown instanceof Fault ? thrown : undefined;
  if (fault && fault.kind !== 'internal' && fault.kind !== 'data-loss') {
    if (fault.kind === 'unavailable') {
      // An outage fails every call, so each line is short: where it came from is in the log once, from who noticed.
      const { cause } = fault.details;
      const why = cause instanceof Error ? cause.message : cause;
      log.warn('call failed: unavailable', { procedure, correlationId, reason: fault.reason, cause: why });
    }
    return fault;
  }
  log.error('call failed by a fault of ours', {
    procedure,
    correlationId,
    reason: fault?.reason ?? 'INTERNAL',
    error: describe(thrown),
    cause: fault ? causeOf(fault) : undefined,
  });
  const metadata = { ...fault?.details.metadata, errorId: correlationId };
  if (fault?.kind === 'data-loss') return new Fault('data-loss', fault.reason, fault.message, { metadata });
  return new Fault('internal', 'INTERNAL', `internal error; look for errorId ${correlationId} in the log`, {
    metadata,
  });
}

function causeOf(fault: Fault): string | undefined {
  return fault.details.cause === undefined ? undefined : describe(fault.details.cause);
}

function describe(thrown: unknown): string {
  return thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
}

function detail<Desc extends DescMessage>(desc: Desc, init: MessageInitShape<Desc>): ErrorDetail {
  return { desc, value: create(desc, init) };
}

/** Cut to a length, and without half surrogate pairs, which the percent-encoding of `grpc-message` cannot take. */
function bounded(text: string, max: number = MAX_VALUE): string {
  return (text.length <= max ? text : `${text.slice(0, max - 1)}…`).toWellFormed();
}
