import type { MessageInitShape } from '@bufbuild/protobuf';
import { type AuditEvent, type AuditFilterSchema, AuditService } from '#src/gen/sallyport/v1/audit_pb.js';
import type { Sidecar } from './sidecar.ts';

/** Nobody promises how soon; this is only where waiting has no sense any more. */
const LIMIT_MS = 15_000;

type Filter = MessageInitShape<typeof AuditFilterSchema>;

/** What the trail has, newest first, as an operator reads it. */
export async function trailOf(sidecar: Sidecar, filter: Filter): Promise<readonly AuditEvent[]> {
  const { events } = await sidecar.operator().unary(AuditService.method.queryEvents, { filter, pageSize: 1_000 });
  return events;
}

/** Refusals are written without being waited for: asks until `count` events are there, and answers what is there then. */
export async function eventually(
  sidecar: Sidecar,
  filter: Filter,
  wanted: (event: AuditEvent) => boolean = () => true,
  count = 1,
): Promise<readonly AuditEvent[]> {
  const deadline = Date.now() + LIMIT_MS;
  for (;;) {
    const events = (await trailOf(sidecar, filter)).filter(wanted);
    if (events.length >= count || Date.now() > deadline) return events;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The value of a fact; '' if there is none. */
export function factOf(event: AuditEvent | undefined, key: string): string {
  return event?.facts.find((fact) => fact.key === key)?.value ?? '';
}
