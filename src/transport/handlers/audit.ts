import { invalidFields } from '#src/domain/faults.ts';
import type { AuditService } from '#src/gen/sallyport/v1/audit_pb.js';
import type { AuditReader } from '#src/services/audit-reader.ts';
import type { Handlers } from '../call.ts';
import { eventToProto, exportItemToProto, filterFromProto, verdictToProto } from '../mapping/audit.ts';
import type { Realms } from '../mapping/common.ts';

export interface AuditHandlerDependencies {
  readonly reader: AuditReader;
  readonly realms: Realms;
}

export function auditHandlers({ reader, realms }: AuditHandlerDependencies): Handlers<typeof AuditService> {
  return {
    async queryEvents(request) {
      const filter = filterFromProto(request.filter, realms);
      const page = await reader.query(filter, request.pageSize, request.pageToken);
      return { events: page.events.map(eventToProto), nextPageToken: page.nextPageToken };
    },

    async *tailEvents(request, call) {
      const filter = filterFromProto(request.filter, realms);
      for await (const event of reader.follow(filter, request.backlog, call.signal))
        yield event ? { event: eventToProto(event) } : {};
    },

    async *exportEvents(request, call) {
      const from = sequenceOf('start_sequence', request.startSequence);
      const to = sequenceOf('end_sequence', request.endSequence);
      for await (const item of reader.export({ chainId: request.chainId, from, to }, call.signal))
        yield exportItemToProto(item);
    },

    async verifyChain(request) {
      return verdictToProto(await reader.verify(request.chainId));
    },

    async getBufferStatus() {
      const status = await reader.status();
      return {
        chainId: status.chainId,
        accepted: BigInt(status.accepted),
        durableSequence: BigInt(status.durableSequence),
        flushedSequence: BigInt(status.flushedSequence),
        anchoredSequence: BigInt(status.anchoredSequence),
        bytes: BigInt(status.bytes),
        maxBytes: BigInt(status.maxBytes),
        writable: status.writable,
        folded: BigInt(status.folded),
        lost: BigInt(status.lost),
      };
    },
  };
}

function sequenceOf(field: string, value: bigint): number {
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw invalidFields([{ field, description: 'is beyond any sequence' }]);
}
