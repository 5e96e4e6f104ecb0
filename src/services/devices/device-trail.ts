import type { EventDraft, EventType } from '#src/domain/audit-event.ts';
import type { Caller, ClientContext } from '#src/domain/caller.ts';
import type { EventFields, Trail } from '../trail.ts';

/** Who does what to whose devices. */
export interface DeviceCall {
  readonly caller: Caller;
  readonly realm: string;
  readonly subject: string;
  readonly client?: ClientContext;
  readonly deviceId?: string;
}

/** An event of a trusted device; never with its token. */
export function deviceEvent(
  trail: Trail,
  type: EventType,
  call: DeviceCall,
  fields: Partial<EventFields> = {},
): EventDraft {
  const { caller, realm, subject, client, deviceId } = call;
  return trail.draft(type, caller, {
    realm,
    subject,
    outcome: 'SUCCESS',
    ...(client === undefined || client.ipAddress === '' ? {} : { ipAddress: client.ipAddress }),
    ...(client === undefined || client.userAgent === '' ? {} : { userAgent: client.userAgent }),
    ...fields,
    facts: { ...(deviceId === undefined ? {} : { device_id: deviceId }), ...fields.facts },
  });
}
