import type { EventDraft, EventType } from '#src/domain/audit-event.ts';
import type { Caller, ClientContext } from '#src/domain/caller.ts';
import type { Budget } from '#src/domain/failure-budget.ts';
import type { Fault } from '#src/domain/faults.ts';
import type { Method } from '#src/domain/method.ts';
import type { EventFields, Trail } from '../trail.ts';

/** Who asks for a change of whose factors. */
export interface FactorCall {
  readonly caller: Caller;
  readonly realm: string;
  readonly subject: string;
  readonly client: ClientContext;
  readonly method?: Method;
  readonly factorId?: string;
}

/** Writes the events of factors. */
export class FactorTrail {
  readonly #trail: Trail;
  readonly #refusal: EventType;

  constructor(trail: Trail, refusal: 'factor.enrollment_refused' | 'factor.change_refused') {
    this.#trail = trail;
    this.#refusal = refusal;
  }

  draft(type: EventType, call: FactorCall, fields: Partial<EventFields> = {}): EventDraft {
    const { caller, realm, subject, client, method, factorId } = call;
    return this.#trail.draft(type, caller, {
      realm,
      subject,
      outcome: 'SUCCESS',
      ...(method === undefined ? {} : { method }),
      ...(factorId === undefined ? {} : { factorId }),
      ...(client.ipAddress === '' ? {} : { ipAddress: client.ipAddress }),
      ...(client.userAgent === '' ? {} : { userAgent: client.userAgent }),
      ...fields,
    });
  }

  /** Records the refusal and answers the fault, to be thrown. */
  refuse(call: FactorCall, fault: Fault, facts: Readonly<Record<string, string>> = {}): Fault {
    this.note(this.#refusal, call, { outcome: 'REFUSED', reason: fault.reason, facts });
    return fault;
  }

  /** Records that the person is locked from now on. */
  locked(call: FactorCall, locks: 'short' | 'hard', { consecutive, lockedUntil }: Budget): void {
    this.note(locks === 'hard' ? 'subject.hard_locked' : 'subject.locked', call, {
      outcome: 'REFUSED',
      reason: 'SUBJECT_LOCKED',
      facts: { consecutive: String(consecutive), locked_until_ms: String(lockedUntil) },
    });
  }

  /** Records without waiting. */
  note(type: EventType, call: FactorCall, fields: Partial<EventFields>): void {
    this.#trail.refused(this.draft(type, call, fields));
  }
}

/** A device is trusted by what the person had: it goes with the factor. */
export function devicesForgotten(trail: FactorTrail, call: FactorCall): EventDraft {
  return trail.draft('device.revoked', call, { reason: 'FACTOR_CHANGE' });
}
