import type { EventDraft, EventType } from '../domain/audit-event.ts';
import type { Caller } from '../domain/caller.ts';
import { newId } from '../domain/ids.ts';
import type { DurationMs } from '../domain/time.ts';
import type { AuditLog } from '../ports/audit.ts';
import type { Clock, Random } from '../ports/runtime.ts';
import type { Log, Metrics } from '../ports/telemetry.ts';

export type EventFields = Omit<EventDraft, 'id' | 'at' | 'type' | 'caller' | 'correlationId'>;

export interface TrailDependencies {
  readonly audit: Pick<AuditLog, 'append'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Equal refusals within this time become one event with a count. */
  readonly foldMs: DurationMs;
  /** How many different refusals may be folding at once; beyond it all of one type, reason and caller become one event. */
  readonly maxFolding: number;
  /** Refusals on their way to the disk at once; beyond it they are lost, and counted. */
  readonly maxPending?: number;
}

interface Folding {
  readonly first: EventDraft;
  folded: number;
  cancel: () => void;
}

const MAX_PENDING = 1_024;
/** Loss is told at most this often. */
const LOSS_REPORT_MS = 1_000;

/**
 * How services write to the audit trail. Grants go into the store intent that makes them (`draft`), or are awaited
 * (`append`); refusals go on without waiting (`refused`), with a counted loss.
 */
export class Trail {
  readonly #deps: TrailDependencies;
  readonly #folding = new Map<string, Folding>();
  readonly #pending = new Set<Promise<void>>();
  readonly #maxPending: number;
  #folded = 0;
  #lost = 0;
  /** Lost and not told yet. */
  #untold = 0;
  #cancelReport: (() => void) | undefined;

  constructor(deps: TrailDependencies) {
    this.#deps = deps;
    this.#maxPending = deps.maxPending ?? MAX_PENDING;
  }

  /** Refusals folded into others, and lost, since the start. */
  get counters(): { readonly folded: number; readonly lost: number } {
    return { folded: this.#folded, lost: this.#lost };
  }

  /** Makes an event; nothing is written yet. `caller` undefined means the sidecar itself. */
  draft(type: EventType, caller: Caller | undefined, fields: EventFields): EventDraft {
    const { clock, random } = this.#deps;
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

  /**
   * Writes without waiting. The first of its kind is written at once; repeats for one person, type, reason, caller and
   * challenge fold into one event with a count. A flood of different ones folds by type, reason and caller alone.
   */
  refused(event: EventDraft): void {
    const coarse = [event.realm, event.type, event.reason ?? '', event.caller ?? ''];
    const key = [...coarse, event.subject ?? '', event.challengeId ?? ''].join('\n');
    if (this.#fold(key)) return;
    if (this.#folding.size < this.#deps.maxFolding) {
      this.#write(event);
      this.#begin(key, event);
      return;
    }
    const flood = coarse.join('\n');
    if (this.#fold(flood)) return;
    if (this.#folding.size >= 2 * this.#deps.maxFolding) {
      this.#lose(event, 1, 'too many different refusals at once');
      return;
    }
    this.#begin(flood, impersonal(event));
    this.#fold(flood);
  }

  /** Writes now what is still folded about a person; resolves when it, and all else that was on its way, is written. */
  async settle(realm: string, subject: string): Promise<void> {
    for (const [key, { first, cancel }] of [...this.#folding]) {
      if (first.realm !== realm || first.subject !== subject) continue;
      cancel();
      this.#unfold(key);
    }
    await this.#settled();
  }

  /** Of persons who were erased elsewhere: what is still folded about them is written without their names. */
  forget(isErased: (realm: string, subject: string) => boolean): void {
    for (const [key, folding] of [...this.#folding]) {
      const { first } = folding;
      if (!first.subject || !isErased(first.realm, first.subject)) continue;
      folding.cancel();
      this.#folding.set(key, { ...folding, first: impersonal(first) });
      this.#unfold(key);
    }
  }

  /** Writes what is still folded and waits for all that is on its way; at shutdown. */
  async drain(): Promise<void> {
    for (const [key, folding] of [...this.#folding]) {
      folding.cancel();
      this.#unfold(key);
    }
    await this.#settled();
    this.#cancelReport?.();
    this.#reportLoss();
    await this.#settled();
    this.#cancelReport?.();
  }

  async #settled(): Promise<void> {
    await Promise.all(this.#pending);
  }

  #fold(key: string): boolean {
    const folding = this.#folding.get(key);
    if (!folding) return false;
    folding.folded += 1;
    this.#folded += 1;
    this.#deps.metrics.eventFolded();
    return true;
  }

  #begin(key: string, first: EventDraft): void {
    const cancel = this.#deps.clock.schedule(this.#deps.foldMs, () => this.#unfold(key));
    this.#folding.set(key, { first, folded: 0, cancel });
  }

  #unfold(key: string): void {
    const folding = this.#folding.get(key);
    this.#folding.delete(key);
    if (!folding || folding.folded === 0) return;
    const { clock, random } = this.#deps;
    const facts = { ...folding.first.facts, folded_since_ms: String(folding.first.at) };
    const id = newId('event', random.bytes(16));
    this.#write({ ...folding.first, id, at: clock.now(), count: folding.folded, facts });
  }

  #write(event: EventDraft): void {
    const count = event.count ?? 1;
    if (this.#pending.size >= this.#maxPending) {
      this.#lose(event, count, 'too many refusals are waiting');
      return;
    }
    const writing = this.#deps.audit.append([event]).then(
      () => {},
      (error: unknown) => this.#lose(event, count, String(error)),
    );
    this.#pending.add(writing);
    void writing.then(() => this.#pending.delete(writing));
  }

  #lose(event: EventDraft, count: number, error: string): void {
    this.#lost += count;
    this.#untold += count;
    this.#deps.metrics.eventsLost(count);
    // One line for the first; the rest is in the counter and in the event that tells of them.
    if (!this.#cancelReport) this.#deps.log.warn('refusal events are being lost', { type: event.type, error });
    this.#scheduleReport();
  }

  #scheduleReport(): void {
    this.#cancelReport ??= this.#deps.clock.schedule(LOSS_REPORT_MS, () => {
      this.#cancelReport = undefined;
      this.#reportLoss();
    });
  }

  /** Once the trail takes events again, one of them says how many it did not take. */
  #reportLoss(): void {
    if (this.#untold === 0) return;
    const count = this.#untold;
    this.#untold = 0;
    const { audit, clock, random } = this.#deps;
    const id = newId('event', random.bytes(16));
    const type = 'audit.events_lost';
    const event: EventDraft = { id, type, at: clock.now(), realm: '', outcome: 'FAILED', caller: 'sidecar', count };
    const writing = audit.append([event]).then(
      () => {},
      () => {
        this.#untold += count;
        this.#scheduleReport();
      },
    );
    this.#pending.add(writing);
    void writing.then(() => this.#pending.delete(writing));
  }
}

/** What stands for many different people names none of them. */
function impersonal(event: EventDraft): EventDraft {
  const { id, type, at, realm, outcome, reason, caller, method } = event;
  return {
    id,
    type,
    at,
    realm,
    outcome,
    ...(reason !== undefined && { reason }),
    ...(caller !== undefined && { caller }),
    ...(method !== undefined && { method }),
  };
}
