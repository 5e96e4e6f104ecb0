import type { Row, SqlExecutor, SqlValue, Tx } from '#src/adapters/sql/executor.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { Fault } from '#src/domain/faults.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { writeAuditPosition } from './audit-position.ts';
import { nameUnconfirmed, type ReconciliationParts, takeOver } from './reconciliation.ts';
import { storeFault } from './sqlite-connection.ts';

export interface SqliteExecutorOptions extends ReconciliationParts {
  /** The last audit position that the state holds, 0 for none. */
  readonly confirmed: number;
  /** How many units may share one commit. */
  readonly maxBatch: number;
  readonly log: Log;
  /** After each commit that made events durable, with those of the units. */
  readonly onAppend: (events: readonly EventDraft[]) => void;
  /** Between the commit of the audit file and that of the state: where a crash is at its worst. */
  readonly onAuditCommitted?: () => void;
}

type Work = (tx: Tx) => unknown;

type Result =
  | { readonly value: unknown; readonly events: readonly EventDraft[]; readonly wrote: boolean }
  | { readonly error: unknown };

interface Unit {
  readonly work: Work;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  /** What the last run left. */
  result: Result;
}

const AUDIT_DOWN = 'the audit trail cannot be written, so nothing is granted';
const STORE_DOWN = 'the local store could not be written';
/** How long to leave files alone that could not be brought in line. */
const RECONCILE_PAUSE_MS = 250;

/**
 * Group commit over both files. Units that arrived together share one transaction, each in a savepoint of its own. Their
 * events are committed first, then the state, and only then any of them resolves: no effect is without its event. Where
 * one of the files refuses, whatever does not need it still works.
 */
export class SqliteExecutor implements SqlExecutor {
  readonly #options: SqliteExecutorOptions;
  readonly #queue: Unit[] = [];
  readonly #idle: (() => void)[] = [];
  #running = false;
  /** The last audit position whose events are all confirmed. */
  #confirmed: number;
  /** The state holds an older position than that; made good with the next commit, or when there is nothing else to do. */
  #positionStale = false;
  /** Events may stand for effects that did not happen; until they are named, no other event is taken. */
  #apart = true;
  #lastTryMs = Number.NEGATIVE_INFINITY;
  /** Something was erased that the logs of the files may still hold; at start nobody knows. */
  #unscrubbed = true;

  constructor(options: SqliteExecutorOptions) {
    this.#options = options;
    this.#confirmed = options.confirmed;
  }

  unit<T>(work: (tx: Tx) => Promise<T> | T): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const unit: Unit = { work, resolve: (value) => resolve(value as T), reject, result: { error: undefined } };
      this.#queue.push(unit);
      if (this.#running) return;
      this.#running = true;
      // Not at once: what else arrives in this turn of the event loop shares the commit.
      setImmediate(() => void this.#next());
    });
  }

  read(sql: string, ...params: readonly SqlValue[]): Promise<readonly Row[]> {
    return this.unit((tx) => tx.all(sql, ...params));
  }

  /**
   * Brings the files in line if they may be apart, as they may at start; false while they cannot be. Happens by itself
   * before a commit too, now and then. Not to be called while units run.
   */
  bringInLine(): boolean {
    const { audit, log, now, onAppend } = this.#options;
    if (!this.#apart) return true;
    if (Math.abs(now() - this.#lastTryMs) < RECONCILE_PAUSE_MS) return false;
    this.#lastTryMs = now();
    try {
      const unconfirmed = nameUnconfirmed(this.#options, this.#confirmed);
      this.#confirmed = audit.head().position;
      if (unconfirmed > 0) {
        log.warn('events without a certain effect were named in the audit trail', { unconfirmed });
        onAppend([]);
      }
      takeOver(this.#options);
    } catch (error) {
      log.error('the local files cannot be brought in line yet', { error: String(error) });
      return false;
    }
    this.#positionStale = false;
    this.#apart = false;
    return true;
  }

  /**
   * Empties the write-ahead logs when a person was erased, and at start, in case a crash came in between. Answers whether
   * nothing is left to do. Not to be called while units run.
   */
  scrub(): boolean {
    if (!this.#unscrubbed) return true;
    const { audit, transaction, log } = this.#options;
    try {
      transaction.emptyLog();
      this.#unscrubbed = !audit.scrub();
    } catch (error) {
      log.warn('the logs of the local files could not be emptied yet', { error: String(error) });
    }
    return !this.#unscrubbed;
  }

  /** Resolves when nothing is queued or running. */
  async drained(): Promise<void> {
    if (this.#running) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async #next(): Promise<void> {
    await this.#attempt(this.#queue.splice(0, this.#options.maxBatch), this.bringInLine());
    if (this.#queue.length > 0) {
      // Two turns: the answers of this batch leave, and what has arrived meanwhile joins, before the disk blocks again.
      setImmediate(() => setImmediate(() => void this.#next()));
      return;
    }
    this.#running = false;
    this.#savePosition();
    for (const done of this.#idle.splice(0)) done();
  }

  async #attempt(batch: readonly Unit[], trailOpen: boolean): Promise<void> {
    if (batch.length === 0) return;
    try {
      await this.#run(batch, trailOpen);
    } catch (error) {
      // SQLite gave up the whole transaction.
      this.#undo();
      return this.#fail(batch, error, STORE_DOWN);
    }
    const events = batch.some(hasEvents);
    try {
      if (events) this.#options.audit.commit();
    } catch (error) {
      // What is on disk is not certain after a failed commit.
      this.#apart = true;
      this.#undo();
      this.#fail(batch.filter(hasEvents), error, AUDIT_DOWN);
      return await this.#attempt(
        batch.filter((unit) => !hasEvents(unit)),
        false,
      );
    }
    if (events) this.#options.onAuditCommitted?.();
    try {
      this.#commitState(events);
    } catch (error) {
      this.#apart ||= events;
      this.#undo();
      const writers = batch.some(hasEffect) ? batch.filter(hasEffect) : batch;
      this.#fail(writers, error, STORE_DOWN);
      this.bringInLine();
      return await this.#attempt(
        batch.filter((unit) => !writers.includes(unit)),
        false,
      );
    }
    // Before anybody hears that it is done.
    this.scrub();
    for (const { result, resolve, reject } of batch) {
      if ('error' in result) reject(result.error);
      else resolve(result.value);
    }
    if (events) this.#options.onAppend(batch.flatMap(({ result }) => ('events' in result ? result.events : [])));
  }

  #commitState(events: boolean): void {
    const { audit, transaction, keys } = this.#options;
    if (transaction.hasWrites) {
      if (events || (this.#positionStale && !this.#apart)) writeAuditPosition(transaction, audit.head());
      transaction.commit();
      keys.committed();
      if (!this.#apart) this.#positionStale = false;
    } else if (events) this.#positionStale = true;
    if (!events) return;
    this.#confirmed = audit.head().position;
    audit.dropStashedKeys();
  }

  async #run(batch: readonly Unit[], trailOpen: boolean): Promise<void> {
    for (const unit of batch) unit.result = await this.#runUnit(unit.work, trailOpen);
  }

  async #runUnit(work: Work, trailOpen: boolean): Promise<Result> {
    const { transaction, audit, keys } = this.#options;
    const events: EventDraft[] = [];
    let value: unknown;
    transaction.beginUnit();
    try {
      value = await work({
        all: (sql, ...params) => transaction.all(sql, ...params),
        run: (sql, ...params) => transaction.run(sql, ...params),
        // One after the other, units are alone anyway.
        alone: () => {},
        record: (...drafts) => {
          events.push(...drafts);
          // The events of an erasure are sealed under the key that it destroys, which is in hand from here on.
          for (const { realm, subject } of erasedIn(drafts)) keys.find(realm, subject);
        },
      });
      if (events.length > 0) {
        if (!trailOpen) throw auditDown(undefined);
        audit.stage(events);
        for (const { realm, subject } of erasedIn(events)) {
          audit.forgetKeys(keys.destroy(realm, subject));
          this.#unscrubbed = true;
        }
      }
    } catch (error) {
      keys.dropUnit();
      transaction.dropUnit();
      return { error: storeFault(error) };
    }
    const wrote = transaction.keepUnit();
    keys.keepUnit();
    return { value, events, wrote };
  }

  #undo(): void {
    const { audit, transaction, keys } = this.#options;
    audit.rollback();
    transaction.rollback();
    keys.rolledBack();
  }

  #fail(units: readonly Unit[], cause: unknown, message: string): void {
    if (units.length === 0) return;
    const { log } = this.#options;
    log.error(message, { units: units.length, error: String(cause) });
    const reason = message === AUDIT_DOWN ? 'AUDIT_UNAVAILABLE' : 'STORE_UNAVAILABLE';
    for (const unit of units) {
      // A unit that had failed by itself keeps its own reason.
      const own = 'error' in unit.result && unit.result.error;
      unit.reject(own || new Fault('unavailable', reason, message, { retryAfterMs: 1_000, cause }));
    }
  }

  /** Events without state need no commit of the state; so that a crash does not doubt them, it follows when there is time. */
  #savePosition(): void {
    if (!this.#positionStale || this.#apart) return;
    const { audit, transaction } = this.#options;
    try {
      writeAuditPosition(transaction, audit.head());
      transaction.commit();
      this.#positionStale = false;
    } catch (error) {
      transaction.rollback();
      this.#options.log.warn('the audit position could not be saved', { error: String(error) });
    }
  }
}

function erasedIn(events: readonly EventDraft[]): readonly { readonly realm: string; readonly subject: string }[] {
  return events.flatMap(({ type, realm, subject }) =>
    type === 'subject.erased' && subject ? [{ realm, subject }] : [],
  );
}

function hasEvents(unit: Unit): boolean {
  return 'events' in unit.result && unit.result.events.length > 0;
}

function hasEffect(unit: Unit): boolean {
  return hasEvents(unit) || ('wrote' in unit.result && unit.result.wrote);
}

function auditDown(cause: unknown): Fault {
  return new Fault('unavailable', 'AUDIT_UNAVAILABLE', AUDIT_DOWN, { retryAfterMs: 1_000, cause });
}
