import type { EventDraft, EventType } from '../domain/audit-event.ts';
import type { Caller } from '../domain/caller.ts';
import { newId } from '../domain/ids.ts';
import type { DurationMs } from '../domain/time.ts';
import type { AuditLog } from '../ports/audit.ts';
import type { Clock, Random } from '../ports/runtime.ts';
import type { Log, Metrics } from '../ports/telemetry.ts';

export type EventFields = Omit<EventDraft, 'id' | 'at' | 'type' | 'caller' | 'correlationId'>;

export interface TrailDependencies {
  readonly audit: AuditLog;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Equal refusals within this time become one event with a count. */
  readonly foldMs: DurationMs;
  /** How many different refusals may be folding at once; beyond it each is written as it comes. */
  readonly maxFolding: number;
}

interface Folding {
  readonly first: EventDraft;
  folded: number;
  cancel: () => void;
}

/**
 * How services write to the audit trail. Grants go into the store intent that makes them (`draft`), or are awaited
 * (`append`); refusals go on without waiting (`refused`), with a counted loss.
 */
export class Trail {
  readonly #deps: TrailDependencies;
  readonly #folding = new Map<string, Folding>();

  constructor(deps: TrailDependencies) {
    this.#deps = deps;
  }

  /** Makes an event; nothing is written yet. `caller` undefined means the sidecar itself. */
  draft(type: EventType, caller: Caller | undefined, fields: EventFields): EventDraft {
    const { clock, random, metrics } = this.#deps;
    metrics.event(type, fields.outcome);
    return {
      id: newId('event', random.bytes(16)),
      at: clock.now(),
      type,
      caller: caller?.name ?? 'sidecar',
      correlationId: caller?.correlationId ?? '',
      ...fields,
    };
  }

  /** Durable before it resolves; for everything that grants and has no store intent to go with. */
  async append(...events: readonly EventDraft[]): Promise<void> {
    await this.#deps.audit.append(events);
  }

  /** Writes without waiting. Repeats for one person, type, reason and caller fold into one event with a count. */
  refused(event: EventDraft): void {
    const key = [
      event.realm,
      event.subject ?? '',
      event.type,
      event.reason ?? '',
      event.caller ?? '',
      event.challengeId ?? '',
    ].join('\n');
    const folding = this.#folding.get(key);
    if (folding) {
      folding.folded += 1;
      this.#deps.metrics.eventFolded();
      return;
    }
    this.#write(event);
    if (this.#folding.size >= this.#deps.maxFolding) return;
    const entry: Folding = { first: event, folded: 0, cancel: () => {} };
    entry.cancel = this.#deps.clock.schedule(this.#deps.foldMs, () => this.#unfold(key));
    this.#folding.set(key, entry);
  }

  /** Writes what is still folded; at shutdown. Resolves when durable, or counted as lost. */
  async drain(): Promise<void> {
    const pending: Promise<void>[] = [];
    for (const key of [...this.#folding.keys()]) {
      this.#folding.get(key)?.cancel();
      pending.push(this.#unfold(key));
    }
    await Promise.all(pending);
  }

  async #unfold(key: string): Promise<void> {
    const folding = this.#folding.get(key);
    this.#folding.delete(key);
    if (!folding || folding.folded === 0) return;
    const { clock, random } = this.#deps;
    await this.#write({
      ...folding.first,
      id: newId('event', random.bytes(16)),
      at: clock.now(),
      count: folding.folded,
    });
  }

  #write(event: EventDraft): Promise<void> {
    return this.#deps.audit.append([event]).catch((error: unknown) => {
      this.#deps.metrics.eventsLost(event.count ?? 1);
      this.#deps.log.warn('a refusal event was lost', { type: event.type, error: String(error) });
    });
  }
}
