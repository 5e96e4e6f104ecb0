import type { AuditFile } from '#src/adapters/audit/contract.ts';
import { claimsEffect } from '#src/adapters/audit/effects.ts';
import { unavailable } from '#src/adapters/audit/unavailable.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import type { EventPosition } from '#src/ports/audit.ts';
import type { Random } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { AuditMark } from './audit-position.ts';
import type { ProvidedKeys } from './provided-keys.ts';
import { effectsAfter, MAX_NAMED, unconfirmedEvent } from './reconciliation.ts';
import type { TrailKey } from './trail-keys.ts';

export interface TrailWriterOptions {
  readonly audit: AuditFile;
  readonly keys: ProvidedKeys;
  readonly random: Random;
  readonly now: () => number;
  /** Never set back or forward. */
  readonly monotonic: () => number;
  readonly log: Log;
  /** After each commit, with the events of it. */
  readonly onAppend: (events: readonly EventDraft[]) => void;
  /** Between the commit and the answers. */
  readonly onAuditCommitted?: () => void;
  /** How many calls may share one commit. */
  readonly maxBatch: number;
  /** What was known of the effects of events when the last process ended. */
  readonly last: AuditMark | undefined;
}

interface Call {
  readonly keys: readonly TrailKey[];
  /** What to stage; made when it is its turn. */
  readonly events: () => readonly EventDraft[];
  readonly staged: (position: EventPosition) => void;
  readonly reject: (error: unknown) => void;
}

/** Events without a word yet how their effect ended. */
interface Open {
  /** Those that claim an effect, by their place among the others. */
  readonly claims: readonly { readonly id: string; readonly index: number }[];
  readonly at: number;
  first: number;
  last: number;
}

/** How long to leave a file alone that could not be brought in line. */
const PAUSE_MS = 250;
/** More than this are not written down one by one. */
const MAX_RANGES = 1_000;

/**
 * Group commit of the trail alone. Calls that arrived together share one commit. Events with a token are open until they
 * are confirmed or revoked; those that are neither when the process dies are named by the next start.
 */
export class TrailWriter {
  readonly #options: TrailWriterOptions;
  readonly #queue: Call[] = [];
  readonly #idle: (() => void)[] = [];
  readonly #open = new Map<number, Open>();
  #running = false;
  /** Durable up to here, by the last commit that was answered. */
  #known: EventPosition;
  /** The file may hold more than was answered: that is to be named before anything else is taken. */
  #apart = true;
  #doubted: NonNullable<AuditMark['open']>;
  #lastTryMs = Number.NEGATIVE_INFINITY;

  constructor(options: TrailWriterOptions) {
    this.#options = options;
    this.#known = options.last?.position ?? 0;
    this.#doubted = options.last?.open ?? [];
  }

  take(events: readonly EventDraft[], keys: readonly TrailKey[], token: number): Promise<EventPosition> {
    return new Promise((resolve, reject) => {
      const open = token === 0 ? undefined : openOf(events, this.#options.monotonic());
      this.#enqueue({
        keys,
        events: () => {
          if (open) this.#open.set(token, open);
          return events;
        },
        staged: (last) => {
          if (open) [open.first, open.last] = [last - events.length + 1, last];
          resolve(last);
        },
        reject: (error) => {
          this.#open.delete(token);
          reject(error);
        },
      });
    });
  }

  confirm(tokens: readonly number[]): void {
    for (const token of tokens) this.#open.delete(token);
  }

  /** Behind the calls that took them, so that what is still on its way is revoked as well. */
  revoke(tokens: readonly number[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#enqueue({
        keys: [],
        events: () => this.#unconfirmed(tokens),
        staged: () => {
          this.confirm(tokens);
          resolve();
        },
        reject,
      });
    });
  }

  /** Open since before this, by the monotonic clock; to be revoked. */
  openSince(before: number): readonly number[] {
    return [...this.#open].flatMap(([token, { at }]) => (at < before ? [token] : []));
  }

  /** What the next start has to know. */
  mark(): AuditMark {
    const head = this.#options.audit.head();
    if (this.#apart) return { ...head, position: this.#known, open: this.#doubted };
    const open = [...this.#open.values()].map(({ first, last }) => [first, last] as const);
    if (open.length <= MAX_RANGES) return { ...head, open };
    return { ...head, position: Math.min(...open.map(([first]) => first)) - 1 };
  }

  /** Names what may stand for nothing, as at start and after a failed commit; false while that cannot be written. */
  bringInLine(): boolean {
    const { audit, now, log, onAppend } = this.#options;
    if (!this.#apart) return true;
    if (Math.abs(now() - this.#lastTryMs) < PAUSE_MS) return false;
    this.#lastTryMs = now();
    try {
      // Staging nothing makes a file that failed look at itself anew, so that its head is certain.
      audit.stage([]);
      const doubted = this.#doubted.flatMap(([first, last]) => audit.eventIdsAfter(first - 1, last));
      const events = [...doubted, ...effectsAfter(audit, this.#known)];
      if (events.length > 0) {
        audit.stage([unconfirmedEvent(this.#options, events)]);
        audit.commit();
        log.warn('events without a certain effect were named in the audit trail', { unconfirmed: events.length });
        onAppend([]);
      }
      this.#known = audit.head().position;
      this.#doubted = [];
      this.#apart = false;
      return true;
    } catch (error) {
      audit.rollback();
      log.error('the audit trail cannot be brought in line yet', { error: String(error) });
      return false;
    }
  }

  /** Resolves when nothing is queued. */
  async drained(): Promise<void> {
    if (this.#running) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #enqueue(call: Call): void {
    this.#queue.push(call);
    if (this.#running) return;
    this.#running = true;
    // Not at once: what else arrives in this turn of the event loop shares the commit.
    setImmediate(() => this.#next());
  }

  #next(): void {
    const batch = this.#queue.splice(0, this.#options.maxBatch);
    if (this.bringInLine()) this.#write(batch);
    else for (const { reject } of batch) reject(unavailable('the audit trail cannot be written'));
    if (this.#queue.length > 0) {
      // Two turns: the answers of this batch leave, and what has arrived meanwhile joins, before the disk blocks again.
      setImmediate(() => setImmediate(() => this.#next()));
      return;
    }
    this.#running = false;
    for (const done of this.#idle.splice(0)) done();
  }

  #write(batch: readonly Call[]): void {
    const { audit, keys, log, onAppend } = this.#options;
    const staged: { readonly call: Call; readonly events: readonly EventDraft[] }[] = [];
    for (const call of batch) {
      try {
        keys.use(call.keys);
        const events = call.events();
        audit.stage(events);
        staged.push({ call, events });
      } catch (error) {
        call.reject(error);
      }
    }
    const all = staged.flatMap(({ events }) => events);
    try {
      if (all.length > 0) this.#known = audit.commit().position;
    } catch (error) {
      // What is on disk is not certain after a failed commit.
      this.#apart = true;
      log.error('the audit trail cannot be written, so nothing is granted', {
        calls: staged.length,
        error: String(error),
      });
      for (const { call } of staged) call.reject(error);
      return;
    }
    if (all.length > 0) this.#options.onAuditCommitted?.();
    let position = this.#known - all.length;
    for (const { call, events } of staged) {
      position += events.length;
      call.staged(position);
    }
    if (all.length > 0) onAppend(all);
  }

  #unconfirmed(tokens: readonly number[]): readonly EventDraft[] {
    const named = tokens.flatMap((token) => {
      const { claims, first } = this.#open.get(token) ?? { claims: [], first: 0 };
      return claims.map(({ id, index }) => ({ id, position: first + index }));
    });
    const events: EventDraft[] = [];
    for (let from = 0; from < named.length; from += MAX_NAMED)
      events.push(unconfirmedEvent(this.#options, named.slice(from, from + MAX_NAMED)));
    return events;
  }
}

function openOf(events: readonly EventDraft[], at: number): Open {
  const claims = events.flatMap(({ id, type }, index) => (claimsEffect(type) ? [{ id, index }] : []));
  return { claims, at, first: 0, last: 0 };
}
