import { createCipheriv, createDecipheriv } from 'node:crypto';
import { fromBinary } from '@bufbuild/protobuf';
import type { EventDraft, EventOutcome } from '#src/domain/audit-event.ts';
import type { Method } from '#src/domain/method.ts';
import {
  AuditOutcome,
  AuditPersonalSchema,
  type AuditRecord,
  AuditRecordSchema,
} from '#src/gen/sallyport/v1/audit_pb.js';
import { Method as ProtoMethod } from '#src/gen/sallyport/v1/common_pb.js';
import type { StoredEvent } from '#src/ports/audit.ts';
import type { Random } from '#src/ports/runtime.ts';
import { plainText } from './plain-text.ts';
import { encodePersonal, type RecordFields } from './record-encoding.ts';

const VERSION = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const GCM = Object.freeze({ authTagLength: TAG_BYTES });
const MAX_KEY_BYTES = 64;
const NO_FACTS: RecordFields['facts'] = [];
const NO_BYTES = new Uint8Array();
const MAX_FACTS = 32;
/** Of all facts of an event together; with it a record stays below 20 KiB. */
const MAX_FACTS_BYTES = 8 * 1024;

const OUTCOME_TO_PROTO: Readonly<Record<EventOutcome, AuditOutcome>> = {
  SUCCESS: AuditOutcome.SUCCESS,
  REFUSED: AuditOutcome.REFUSED,
  FAILED: AuditOutcome.FAILED,
  INFO: AuditOutcome.INFO,
};
const OUTCOME_FROM_PROTO = new Map(
  Object.entries(OUTCOME_TO_PROTO).map(([name, value]) => [value, name as EventOutcome]),
);
const METHOD_TO_PROTO: Readonly<Record<Method, ProtoMethod>> = {
  totp: ProtoMethod.TOTP,
  sms: ProtoMethod.SMS,
  push: ProtoMethod.PUSH,
  webauthn: ProtoMethod.WEBAUTHN,
  backup_code: ProtoMethod.BACKUP_CODE,
};
const METHOD_FROM_PROTO = new Map(Object.entries(METHOD_TO_PROTO).map(([name, value]) => [value, name as Method]));

/** The part of a person's key that sealing needs. */
export interface PersonalKey {
  readonly ref: string;
  readonly key: Uint8Array;
}

/** Whether the event says something that erasure must be able to take back. */
export function isPersonal(draft: EventDraft): boolean {
  return Boolean(draft.subject || draft.ipAddress || draft.userAgent);
}

/**
 * The record of an event: every text made plain and capped, personal fields sealed under `personal`. An event without a
 * subject has no pseudonym; its address and agent, if any, are sealed under the key of the realm's unknown people.
 */
export function sealRecord(draft: EventDraft, personal: PersonalKey | undefined, random: Random): RecordFields {
  const id = plainText(draft.id, MAX_KEY_BYTES);
  return {
    version: VERSION,
    id,
    type: draft.type,
    occurredAtMs: Math.max(0, Math.trunc(draft.at)),
    realm: plainText(draft.realm),
    subjectRef: draft.subject ? (personal?.ref ?? '') : '',
    outcome: OUTCOME_TO_PROTO[draft.outcome],
    reason: plainText(draft.reason),
    caller: plainText(draft.caller),
    correlationId: plainText(draft.correlationId),
    challengeId: plainText(draft.challengeId),
    sessionId: plainText(draft.sessionId),
    factorId: plainText(draft.factorId),
    method: draft.method === undefined ? ProtoMethod.UNSPECIFIED : METHOD_TO_PROTO[draft.method],
    actionDigest: plainText(draft.actionDigest),
    count: draft.count ?? 1,
    facts: draft.facts ? plainFacts(draft.facts) : NO_FACTS,
    sealedPersonal: personal ? sealPersonal(draft, id, personal.key, random) : NO_BYTES,
  };
}

/** Throws on bytes that are no AuditRecord. */
export function parseRecord(bytes: Uint8Array): AuditRecord {
  return fromBinary(AuditRecordSchema, bytes);
}

export function outcomeFromRecord(record: AuditRecord): EventOutcome {
  return OUTCOME_FROM_PROTO.get(record.outcome) ?? 'INFO';
}

export function outcomeNumber(outcome: EventOutcome): number {
  return OUTCOME_TO_PROTO[outcome];
}

/** The event as read back; without a key, or with a wrong one, the personal fields are ''. */
export function openRecord(
  record: AuditRecord,
  key: Uint8Array | undefined,
  place: { readonly chainId: string; readonly sequence: number; readonly hash: Uint8Array },
): StoredEvent {
  const personal = key && record.sealedPersonal.length > 0 ? openPersonal(record, key) : undefined;
  const method = METHOD_FROM_PROTO.get(record.method);
  return {
    id: record.id,
    type: record.type,
    at: Number(record.occurredAtMs),
    realm: record.realm,
    subject: personal?.subject ?? '',
    subjectRef: record.subjectRef,
    outcome: outcomeFromRecord(record),
    reason: record.reason,
    caller: record.caller,
    correlationId: record.correlationId,
    challengeId: record.challengeId,
    sessionId: record.sessionId,
    factorId: record.factorId,
    ...(method && { method }),
    actionDigest: record.actionDigest,
    count: Number(record.count),
    ipAddress: personal?.ipAddress ?? '',
    userAgent: personal?.userAgent ?? '',
    facts: [...record.facts, ...(personal?.facts ?? [])].map(({ key: name, value }) => ({ key: name, value })),
    ...place,
  };
}

function plainFacts(facts: NonNullable<EventDraft['facts']>): RecordFields['facts'] {
  const kept: { key: string; value: string }[] = [];
  let bytes = 0;
  for (const name of Object.keys(facts).sort()) {
    const fact = { key: plainText(name, MAX_KEY_BYTES), value: plainText(String(facts[name])) };
    bytes += Buffer.byteLength(fact.key) + Buffer.byteLength(fact.value);
    if (kept.length >= MAX_FACTS || bytes > MAX_FACTS_BYTES) {
      kept.push({ key: '~', value: 'further facts were too much for one event' });
      break;
    }
    kept.push(fact);
  }
  return kept;
}

function sealPersonal(draft: EventDraft, id: string, key: Uint8Array, random: Random): Uint8Array {
  const plain = encodePersonal({
    subject: plainText(draft.subject),
    ipAddress: plainText(draft.ipAddress, MAX_KEY_BYTES),
    userAgent: plainText(draft.userAgent),
  });
  const nonce = random.bytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce, GCM);
  cipher.setAAD(Buffer.from(id, 'utf8'));
  const body = cipher.update(plain);
  cipher.final();
  const sealed = new Uint8Array(NONCE_BYTES + body.length + TAG_BYTES);
  sealed.set(nonce);
  sealed.set(body, NONCE_BYTES);
  sealed.set(cipher.getAuthTag(), NONCE_BYTES + body.length);
  return sealed;
}

function openPersonal(record: AuditRecord, key: Uint8Array) {
  const sealed = record.sealedPersonal;
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES), GCM);
    decipher.setAAD(Buffer.from(record.id, 'utf8'));
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
    const body = decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES));
    return fromBinary(AuditPersonalSchema, Buffer.concat([body, decipher.final()]));
  } catch {
    return undefined;
  }
}
