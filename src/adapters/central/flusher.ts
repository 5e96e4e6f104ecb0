import type { Agreement, Backlog, ChainHead, FlushSource, FlushTarget } from '#src/adapters/audit/contract.ts';
import type { DurationMs, EpochMs } from '#src/domain/time.ts';
import type { AuditLog } from '#src/ports/audit.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { Alarm } from './alarm.ts';
import { backoff, batchSize, LATE_TURN_MS, restAfter } from './flush-pace.ts';
import { slicesOf } from './flush-slices.ts';

/** Central storage has another row under the number of one of ours: somebody writes the same chain twice, or changed a row. */
export interface Clash {
  readonly chainId: string;
  readonly sequence: number;
}

export interface FlusherOptions {
  readonly source: FlushSource;
  readonly target: FlushTarget & { prepare?(): Promise<void> };
  /** Says when something was appended. */
  readonly audit: Pick<AuditLog, 'onAppend'>;
  /** Compares the local chain with the central one before the first flush. */
  readonly trail: { localHead(): Promise<ChainHead>; agree(central: ChainHead): Promise<Agreement> };
  /** `strict`: nothing is gathered, since calls wait for each event. */
  readonly mode: 'buffered' | 'strict';
  /** How long events are gathered. */
  readonly intervalMs: DurationMs;
  /** Most rows of a batch. */
  readonly batchRows: number;
  /** About the most bytes of records in a batch; 1 MiB if absent. */
  readonly batchBytes?: number;
  /** Near these bounds of the local buffer the flush no longer rests. */
  readonly bounds: { readonly bytes: number; readonly ageMs: DurationMs };
  /** Whether calls wait for the database. The event loop is watched from here. */
  readonly isBusy: () => boolean;
  /** The alarm, once for each chain that clashes. The flush of that chain stops; it is tried again each minute. */
  readonly onClash: (clash: Clash) => void;
  /** Told after each batch. */
  readonly onStored?: (stored: { readonly events: number; readonly tookMs: DurationMs }) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Bound of the first wait after a failure, and of the longest; 250 ms and 10 s if absent. */
  readonly retry?: { readonly baseMs: DurationMs; readonly maxMs: DurationMs };
}

export interface FlusherStatus {
  /** As of the last look. */
  readonly waiting: Backlog['waiting'];
  /** Failures in a row. */
  readonly failures: number;
  /** Events stored since the start. */
  readonly stored: number;
  /** When central storage last took something, or had nothing to take; 0 for never. */
  readonly lastGoodAt: EpochMs;
  readonly clashes: readonly Clash[];
}

const BATCH_BYTES = 1024 * 1024;
/** Checkpoints come without an append. */
const IDLE_MS = 5_000;
const CLASH_RETRY_MS = 60_000;
const PREPARE_EVERY_MS = 12 * 3_600_000;
const PREPARE_AGAIN_MS = 600_000;
const NEAR_BOUND = 0.8;
const RETRY = { baseMs: 250, maxMs: 10_000 };

/** Brings the local trail to central storage, for as long as the process lives. Never gives up, never throws. */
export class Flusher {
  readonly #options: FlusherOptions;
  readonly #alarm: Alarm;
  readonly #clashes = new Map<string, Clash & { readonly retryAt: number }>();
  #stopListening: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #agreed = false;
  #stopped = false;
  #draining = false;
  #late = false;
  #endRest: (() => void) | undefined;
  #failures = 0;
  #stored = 0;
  #lastGoodAt: EpochMs = 0;
  #prepareAt = 0;
  #waiting: Backlog['waiting'] = { events: 0, bytes: 0, oldestAt: 0 };

  constructor(options: FlusherOptions) {
    this.#options = options;
    this.#alarm = new Alarm(options.clock);
  }

  get status(): FlusherStatus {
    return {
      waiting: this.#waiting,
      failures: this.#failures,
      stored: this.#stored,
      lastGoodAt: this.#lastGoodAt,
      clashes: [...this.#clashes.values()].map(({ chainId, sequence }) => ({ chainId, sequence })),
    };
  }

  start(): void {
    if (this.#running) return;
    const { audit, mode, intervalMs } = this.#options;
    this.#stopListening = audit.onAppend(() => this.#soon(mode === 'strict' ? 0 : intervalMs));
    this.#alarm.within(0);
    this.#running = this.#run();
  }

  /** Flushes at once what there is. While central storage is away this changes nothing. */
  wake(): void {
    this.#soon(0);
  }

  /** Central storage is back: ends the wait after a failure, at a moment that differs from sidecar to sidecar. */
  recovered(): void {
    const { random, retry = RETRY } = this.#options;
    if (this.#failures > 0) this.#alarm.within(backoff(1, retry.baseMs, retry.maxMs, random));
  }

  /**
   * Flushes what is left and ends, within `graceMs`. Answers how many events are on the local disk only; the next start
   * goes on with them.
   */
  async drain(graceMs: DurationMs): Promise<{ readonly left: number }> {
    this.#draining = true;
    this.#endRest?.();
    this.#alarm.within(0);
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const cancel = this.#options.clock.schedule(graceMs, resolve);
    await Promise.race([this.#running, over]);
    cancel();
    this.#stop();
    return { left: this.#waiting.events };
  }

  /** Ends after the batch that is under way. */
  async close(): Promise<void> {
    this.#stop();
    await this.#running;
  }

  #soon(ms: DurationMs): void {
    if (this.#failures === 0) this.#alarm.within(ms);
  }

  #stop(): void {
    this.#stopped = true;
    this.#stopListening?.();
    this.#endRest?.();
    this.#alarm.ring();
  }

  async #run(): Promise<void> {
    const { clock, random, log, retry = RETRY } = this.#options;
    for (;;) {
      await this.#alarm.rings();
      if (this.#stopped) return;
      try {
        await this.#agree();
        const more = await this.#flush();
        if (this.#failures > 0) log.warn('the audit trail reaches central storage again', {});
        this.#failures = 0;
        this.#lastGoodAt = clock.now();
        if (this.#draining && !more) return;
        this.#alarm.within(more ? 0 : IDLE_MS);
      } catch (error) {
        this.#failed(error);
        this.#alarm.within(backoff(this.#failures, retry.baseMs, retry.maxMs, random));
        continue;
      }
      await this.#prepare();
    }
  }

  #failed(error: unknown): void {
    this.#failures += 1;
    // What was asked for before the failure must not shorten the wait after it.
    this.#alarm.quiet();
    if (this.#failures > 1) return;
    this.#options.log.error('the audit trail does not reach central storage; events wait on the local disk', {
      error: error instanceof Error ? error.message : String(error),
    });
  }

  async #agree(): Promise<void> {
    if (this.#agreed) return;
    const { trail, target, log } = this.#options;
    const { chainId } = await trail.localHead();
    const agreement = await trail.agree({ chainId, ...(await target.head(chainId)) });
    this.#agreed = true;
    if (agreement !== 'agrees')
      log.error('the local audit file is not the one that central storage knows', { chain: chainId, agreement });
  }

  /** Flushes one backlog; answers whether there may be more at once. */
  async #flush(): Promise<boolean> {
    const { source, target, clock, batchRows, batchBytes = BATCH_BYTES, isBusy } = this.#options;
    const limit = batchSize(batchRows, !this.#isUrgent() && (this.#late || isBusy()));
    const backlog = await source.backlog(limit);
    this.#waiting = backlog.waiting;
    const now = clock.monotonic();
    const isResting = (chainId: string) => (this.#clashes.get(chainId)?.retryAt ?? now) > now;
    let left = backlog.rows.length;
    let moved = 0;
    for (const slice of slicesOf(backlog, batchBytes, isResting)) {
      const began = clock.monotonic();
      const result = await target.store(slice);
      if (result.outcome === 'clash') {
        this.#clashed(result);
        // The others of this backlog go on without that chain.
        return true;
      }
      await source.flushed(slice);
      this.#noteStored(slice, clock.monotonic() - began);
      moved += slice.rows.length;
      left -= slice.rows.length;
      if (this.#stopped) return true;
      if (left > 0 || backlog.rows.length === limit) await this.#rest(clock.monotonic() - began);
    }
    return moved > 0 && backlog.rows.length === limit;
  }

  #noteStored(slice: Backlog, tookMs: DurationMs): void {
    for (const { chainId } of slice.rows) this.#clashes.delete(chainId);
    const events = slice.rows.length;
    const bytes = slice.rows.reduce((sum, { record }) => sum + record.length, 0);
    this.#stored += events;
    const before = this.#waiting;
    const isEmpty = before.events <= events;
    this.#waiting = {
      events: Math.max(0, before.events - events),
      bytes: isEmpty ? 0 : Math.max(0, before.bytes - bytes),
      oldestAt: isEmpty ? 0 : before.oldestAt,
    };
    this.#options.onStored?.({ events, tookMs });
  }

  #clashed({ chainId, sequence }: Clash): void {
    const { clock, log, onClash } = this.#options;
    const isNew = !this.#clashes.has(chainId);
    this.#clashes.set(chainId, { chainId, sequence, retryAt: clock.monotonic() + CLASH_RETRY_MS });
    if (!isNew) return;
    log.error('central storage has another event in the place of one of ours; this chain is not flushed any more', {
      chain: chainId,
      sequence,
    });
    onClash({ chainId, sequence });
  }

  /** See flush-pace.ts. */
  async #rest(batchMs: DurationMs): Promise<void> {
    const { clock, isBusy } = this.#options;
    const from = clock.monotonic();
    await this.#sleep(0);
    this.#late = clock.monotonic() - from > LATE_TURN_MS;
    const ms = this.#stopped || this.#isUrgent() ? 0 : restAfter(batchMs, this.#late || isBusy());
    if (ms > 0) await this.#sleep(ms);
  }

  #isUrgent(): boolean {
    const { mode, bounds, clock } = this.#options;
    const { bytes, oldestAt } = this.#waiting;
    const ageMs = oldestAt === 0 ? 0 : clock.now() - oldestAt;
    const isNear = bytes >= bounds.bytes * NEAR_BOUND || ageMs >= bounds.ageMs * NEAR_BOUND;
    return this.#draining || mode === 'strict' || isNear;
  }

  /** Ends early when the flusher is to end. */
  async #sleep(ms: DurationMs): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#options.clock.schedule(ms, resolve);
    this.#endRest = resolve;
    await promise;
    cancel();
    this.#endRest = undefined;
  }

  /** Partitions in advance. Without them events find their place all the same, so a failure can wait. */
  async #prepare(): Promise<void> {
    const { target, clock, log } = this.#options;
    if (!target.prepare || this.#draining || clock.monotonic() < this.#prepareAt) return;
    try {
      await target.prepare();
      this.#prepareAt = clock.monotonic() + PREPARE_EVERY_MS;
    } catch (error) {
      this.#prepareAt = clock.monotonic() + PREPARE_AGAIN_MS;
      const why = error instanceof Error ? error.message : String(error);
      log.warn('the partitions of the next months of the audit trail were not made', { error: why });
    }
  }
}
