import type { MessageInitShape } from '@bufbuild/protobuf';
import type { EventOutcome } from '#src/domain/audit-event.ts';
import { invalidFields } from '#src/domain/faults.ts';
import {
  type AuditEventSchema,
  type AuditFilter,
  AuditOutcome,
  ChainFault,
  type ExportEventsResponseSchema,
  type VerifyChainResponseSchema,
} from '#src/gen/sallyport/v1/audit_pb.js';
import type { ChainFault as DomainFault, EventFilter, ExportItem, StoredEvent, Verdict } from '#src/ports/audit.ts';
import { methodToProto, type Realms, realmOf, timestampFromProto, timestampToProto } from './common.ts';

const OUTCOME: Readonly<Record<EventOutcome, AuditOutcome>> = {
  SUCCESS: AuditOutcome.SUCCESS,
  REFUSED: AuditOutcome.REFUSED,
  FAILED: AuditOutcome.FAILED,
  INFO: AuditOutcome.INFO,
};
const OUTCOME_FROM_PROTO = new Map(Object.entries(OUTCOME).map(([name, value]) => [value, name as EventOutcome]));

const FAULT: Readonly<Record<DomainFault, ChainFault>> = {
  EDITED: ChainFault.EDITED,
  MISSING: ChainFault.MISSING,
  REORDERED: ChainFault.REORDERED,
  TRUNCATED: ChainFault.TRUNCATED,
  FORKED: ChainFault.FORKED,
  SIGNATURE: ChainFault.SIGNATURE,
  UNREADABLE: ChainFault.UNREADABLE,
  LINK: ChainFault.LINK,
};

/**
 * Without a realm all realms are meant, except that a subject belongs to one: then the default realm if it is the only
 * one, else Fault(invalid, FIELD_INVALID).
 */
export function filterFromProto(filter: AuditFilter | undefined, realms: Realms): EventFilter {
  if (!filter) return {};
  const from = timestampFromProto(filter.startTime);
  const until = timestampFromProto(filter.endTime);
  const outcome = OUTCOME_FROM_PROTO.get(filter.outcome);
  const realm = realmOfFilter(filter, realms);
  if (from !== undefined && until !== undefined && until < from)
    throw invalidFields([{ field: 'filter.end_time', description: 'must not be before start_time' }]);
  return {
    ...(realm && { realm }),
    ...(filter.subject && { subject: filter.subject }),
    ...(filter.types.length > 0 && { types: filter.types }),
    ...(from !== undefined && { from }),
    ...(until !== undefined && { until }),
    ...(outcome && { outcome }),
    ...(filter.challengeId && { challengeId: filter.challengeId }),
    ...(filter.sessionId && { sessionId: filter.sessionId }),
  };
}

function realmOfFilter(filter: AuditFilter, realms: Realms): string {
  if (filter.realm !== '') return realmOf(realms, filter.realm);
  if (filter.subject === '') return '';
  if (realms.names.size === 1) return realms.defaultRealm;
  throw invalidFields([{ field: 'filter.realm', description: 'is needed with a subject, who belongs to one realm' }]);
}

export function eventToProto(event: StoredEvent): MessageInitShape<typeof AuditEventSchema> {
  return {
    id: event.id,
    type: event.type,
    occurTime: timestampToProto(event.at),
    realm: event.realm,
    subject: event.subject,
    subjectRef: event.subjectRef,
    outcome: OUTCOME[event.outcome],
    reason: event.reason,
    caller: event.caller,
    correlationId: event.correlationId,
    challengeId: event.challengeId,
    sessionId: event.sessionId,
    factorId: event.factorId,
    method: methodToProto(event.method),
    actionDigest: event.actionDigest,
    count: BigInt(event.count),
    ipAddress: event.ipAddress,
    userAgent: event.userAgent,
    facts: event.facts.map(({ key, value }) => ({ key, value })),
    chainId: event.chainId,
    sequence: BigInt(event.sequence),
    hash: event.hash,
  };
}

export function exportItemToProto(item: ExportItem): MessageInitShape<typeof ExportEventsResponseSchema> {
  switch (item.kind) {
    case 'chain':
      return { item: { case: 'chain', value: item.chain } };
    case 'key':
      return { item: { case: 'key', value: item.key } };
    case 'row':
      return { item: { case: 'row', value: { ...item.row, sequence: BigInt(item.row.sequence) } } };
    case 'checkpoint': {
      const { signedAt, sequence, ...rest } = item.checkpoint;
      const value = { ...rest, sequence: BigInt(sequence), signTime: timestampToProto(signedAt) };
      return { item: { case: 'checkpoint', value } };
    }
  }
}

export function verdictToProto(verdict: Verdict): MessageInitShape<typeof VerifyChainResponseSchema> {
  const counts = { rows: BigInt(verdict.rows), checkpoints: BigInt(verdict.checkpoints) };
  if (verdict.intact) return { intact: true, ...counts };
  const { fault, chainId, sequence, detail } = verdict;
  const named = Number.isSafeInteger(sequence) && sequence > 0 ? BigInt(sequence) : 0n;
  return { intact: false, ...counts, fault: FAULT[fault], chainId, sequence: named, detail };
}
