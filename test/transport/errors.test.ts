import { readFileSync } from 'node:fs';
import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { Fault, type FaultKind } from '#src/domain/faults.ts';
import { ErrorInfoSchema } from '#src/gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '#src/gen/google/rpc/status_pb.js';
import { ReasonSchema } from '#src/gen/sallyport/v1/errors_pb.js';
import { CODE_NAMES, codeOf, errorTypeOf, statusBytes, toFault, toWireError } from '#src/transport/errors.ts';
import { RecordingLog } from '../support/recording-telemetry.ts';

const KINDS: Record<FaultKind, string> = {
  invalid: 'INVALID_ARGUMENT',
  unauthenticated: 'UNAUTHENTICATED',
  denied: 'PERMISSION_DENIED',
  'not-found': 'NOT_FOUND',
  exists: 'ALREADY_EXISTS',
  precondition: 'FAILED_PRECONDITION',
  limited: 'RESOURCE_EXHAUSTED',
  'out-of-range': 'OUT_OF_RANGE',
  unavailable: 'UNAVAILABLE',
  deadline: 'DEADLINE_EXCEEDED',
  cancelled: 'CANCELLED',
  unimplemented: 'UNIMPLEMENTED',
  'data-loss': 'DATA_LOSS',
  internal: 'INTERNAL',
};

describe('errors', () => {
  it.each(Object.entries(KINDS))('maps %s to %s', (kind, name) => {
    expect(CODE_NAMES[codeOf(new Fault(kind as FaultKind, 'INTERNAL', 'x'))]).toBe(name);
  });

  it('has the reasons of the proto, all of them and no others', () => {
    const source = readFileSync(new URL('../../src/domain/faults.ts', import.meta.url), 'utf8');
    const union = /export type Reason =([^;]+);/.exec(source)?.[1] ?? '';
    const reasons = [...union.matchAll(/'([A-Z_]+)'/g)].map(([, reason]) => `REASON_${reason}`);
    const proto = ReasonSchema.values.map((value) => value.name).filter((name) => name !== 'REASON_UNSPECIFIED');
    expect(reasons.toSorted()).toEqual(proto.toSorted());
  });

  it('carries one ErrorInfo and at most one of each other detail', () => {
    const fault = new Fault('limited', 'SUBJECT_LOCKED', 'locked', {
      metadata: { lockedUntil: '2026-01-15T12:00:00Z' },
      retryAfterMs: 1500,
      quota: { subject: 'subject', description: 'failed attempts' },
      violations: [{ field: 'a', description: 'b' }],
      preconditions: [{ type: 'MFA', subject: 's', description: 'd' }],
    });
    const status = fromBinary(StatusSchema, statusBytes(toWireError(fault)));
    expect(status.details.map((detail) => detail.typeUrl)).toEqual([
      'type.googleapis.com/google.rpc.ErrorInfo',
      'type.googleapis.com/google.rpc.RetryInfo',
      'type.googleapis.com/google.rpc.QuotaFailure',
      'type.googleapis.com/google.rpc.BadRequest',
      'type.googleapis.com/google.rpc.PreconditionFailure',
    ]);
    const info = fromBinary(ErrorInfoSchema, status.details[0]?.value ?? new Uint8Array());
    expect(info).toMatchObject({ reason: 'SUBJECT_LOCKED', domain: 'sallyport' });
    expect(info.metadata).toEqual({ lockedUntil: '2026-01-15T12:00:00Z' });
  });

  it('stays below what clients take as metadata, whatever a request put into it', () => {
    const long = 'ä'.repeat(10_000);
    const fault = new Fault('invalid', 'FIELD_INVALID', long, {
      metadata: { field: long },
      violations: Array.from({ length: 100 }, () => ({ field: long, description: long })),
    });
    expect(statusBytes(toWireError(fault)).length).toBeLessThan(6 * 1024);
    expect(toWireError(fault).message.length).toBeLessThanOrEqual(512);
  });

  it('cuts no surrogate pair in half', () => {
    const error = toWireError(new Fault('invalid', 'FIELD_INVALID', `${'x'.repeat(510)}😀`));
    expect(error.message.isWellFormed()).toBe(true);
  });

  it('makes an opaque fault of anything unknown, and logs the cause under its error id', () => {
    const log = new RecordingLog();
    const fault = toFault(new Error('password is hunter2'), '/x/Y', 'corr-1', log);
    expect(fault).toMatchObject({ kind: 'internal', reason: 'INTERNAL' });
    expect(fault.message).not.toContain('hunter2');
    expect(fault.details.metadata).toEqual({ errorId: 'corr-1' });
    expect(log.lines).toHaveLength(1);
    expect(log.lines[0]).toMatch(/^error .*corr-1.*hunter2/);
  });

  it('does not show the text of an internal fault either', () => {
    const fault = toFault(new Fault('internal', 'INTERNAL', 'row 7 of table x'), '/x/Y', 'corr-2', new RecordingLog());
    expect(fault.message).not.toContain('row 7');
  });

  it('passes expected faults on without a line in the log', () => {
    const log = new RecordingLog();
    const fault = new Fault('not-found', 'SESSION_NOT_FOUND', 'no such session');
    expect(toFault(fault, '/x/Y', 'corr-3', log)).toBe(fault);
    expect(log.lines).toEqual([]);
  });

  it('writes one short line for a call that an outage failed, with its cause and without a stack', () => {
    const log = new RecordingLog();
    const fault = new Fault('unavailable', 'STORE_UNAVAILABLE', 'the store could not be written', {
      cause: new Error('database or disk is full'),
    });
    expect(toFault(fault, '/x/Y', 'corr-4', log)).toBe(fault);
    expect(log.lines).toHaveLength(1);
    expect(log.lines[0]).toMatch(/^warn .*corr-4.*"cause":"database or disk is full"}$/);
  });

  it('counts refusals as no errors of the server', () => {
    expect([3, 5, 7, 8, 9, 16].map(errorTypeOf)).toEqual(['', '', '', '', '', '']);
    expect([4, 12, 13, 14, 15].map(errorTypeOf)).not.toContain('');
  });
});
