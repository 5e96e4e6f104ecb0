import type { AuditPersonal, AuditRecord } from '#src/gen/sallyport/v1/audit_pb.js';

type Plain<T> = Omit<T, '$typeName' | '$unknown' | 'facts'>;
interface Fact {
  readonly key: string;
  readonly value: string;
}

/** The fields of a record before they are bytes. */
export type RecordFields = Readonly<Omit<Plain<AuditRecord>, 'occurredAtMs' | 'count'>> & {
  /** Whole and not negative. */
  readonly occurredAtMs: number;
  readonly count: number;
  readonly facts: readonly Fact[];
};

export type PersonalFields = Readonly<Plain<AuditPersonal>>;

/** More than any record can take: see the bounds in record.ts. */
const WORKSPACE_BYTES = 64 * 1024;
const workspace = Buffer.allocUnsafe(WORKSPACE_BYTES);
/** Up to this length, UTF-8 always fits a length of one byte. */
const SHORT = 42;

/**
 * The canonical bytes of an AuditRecord: what protobuf's reference encoders write for it, fields in order of number,
 * absent ones left out. Written out by hand because every event is encoded while others wait for its commit; a test
 * holds it equal to the generic encoder.
 */
export function encodeRecord(fields: RecordFields): Uint8Array {
  let at = number(0, 0x08, fields.version);
  at = text(at, 0x12, fields.id);
  at = text(at, 0x1a, fields.type);
  at = number(at, 0x20, fields.occurredAtMs);
  at = text(at, 0x2a, fields.realm);
  at = text(at, 0x32, fields.subjectRef);
  at = number(at, 0x38, fields.outcome);
  at = text(at, 0x42, fields.reason);
  at = text(at, 0x4a, fields.caller);
  at = text(at, 0x52, fields.correlationId);
  at = text(at, 0x5a, fields.challengeId);
  at = text(at, 0x62, fields.sessionId);
  at = text(at, 0x6a, fields.factorId);
  at = number(at, 0x70, fields.method);
  at = text(at, 0x7a, fields.actionDigest);
  // From field 16 on a tag takes two bytes.
  if (fields.count !== 0) at = number(mark(at, 0x80), 0x01, fields.count);
  for (const fact of fields.facts) at = factAt(at, fact);
  const { sealedPersonal } = fields;
  if (sealedPersonal.length > 0) {
    at = varint(mark(mark(at, 0x92), 0x01), sealedPersonal.length);
    workspace.set(sealedPersonal, at);
    at += sealedPersonal.length;
  }
  return Uint8Array.from(workspace.subarray(0, at));
}

/** The canonical bytes of an AuditPersonal without facts. A view of memory that the next call reuses. */
export function encodePersonal(fields: PersonalFields): Uint8Array {
  let at = text(0, 0x0a, fields.subject);
  at = text(at, 0x12, fields.ipAddress);
  at = text(at, 0x1a, fields.userAgent);
  return workspace.subarray(0, at);
}

function mark(at: number, byte: number): number {
  workspace[at] = byte;
  return at + 1;
}

function number(at: number, tag: number, value: number): number {
  return value === 0 ? at : varint(mark(at, tag), value);
}

function varint(at: number, value: number): number {
  let next = at;
  let rest = value;
  // Bitwise operators would cut a time stamp to 32 bits.
  while (rest > 127) {
    workspace[next] = (rest % 128) + 128;
    rest = Math.floor(rest / 128);
    next += 1;
  }
  workspace[next] = rest;
  return next + 1;
}

function text(at: number, tag: number, value: string): number {
  if (value === '') return at;
  return content(mark(at, tag), value);
}

function content(at: number, value: string): number {
  if (value.length <= SHORT) {
    const length = workspace.write(value, at + 1, 'utf8');
    workspace[at] = length;
    return at + 1 + length;
  }
  const start = varint(at, Buffer.byteLength(value, 'utf8'));
  return start + workspace.write(value, start, 'utf8');
}

function factAt(at: number, fact: Fact): number {
  const size = sizeOf(fact.key) + sizeOf(fact.value);
  const start = varint(mark(mark(at, 0x8a), 0x01), size);
  return text(text(start, 0x0a, fact.key), 0x12, fact.value);
}

function sizeOf(value: string): number {
  if (value === '') return 0;
  const length = Buffer.byteLength(value, 'utf8');
  return 1 + (length > 127 ? (length > 16_383 ? 3 : 2) : 1) + length;
}
