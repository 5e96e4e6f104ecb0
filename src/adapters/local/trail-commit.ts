import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import type { EventCommit, EventsTaken } from '#src/adapters/audit/contract.ts';
import { claimsEffect } from '#src/adapters/audit/effects.ts';
import { unavailable } from '#src/adapters/audit/unavailable.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { Fault } from '#src/domain/faults.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { AuditLog, EventPosition } from '#src/ports/audit.ts';
import type { FlushMark } from './flush-mark.ts';
import type { TrailKeys } from './trail-keys.ts';
import type { TrailPort } from './trail-port.ts';

export interface TrailCommitOptions {
  readonly worker: Pick<TrailPort, 'take' | 'confirm' | 'revoke'>;
  readonly keys: TrailKeys;
  readonly flushed: FlushMark;
  /** `strict`: events count only when central storage has them. */
  readonly mode: 'buffered' | 'strict';
  /** How long strict events wait for central storage. */
  readonly flushTimeoutMs: DurationMs;
  /** How many calls may be under way, and how many events may be without a word how they ended. */
  readonly maxPending: number;
  /** The worker is gone; what is open is named by the next start. */
  readonly isGone: () => boolean;
}

const RETRY_MS = 250;

/** Events into the trail, from the main thread: keys first, then the disk, then, where that is asked for, central storage. */
export class TrailCommit implements EventCommit, Pick<AuditLog, 'append'> {
  readonly #options: TrailCommitOptions;
  #lastToken = 0;
  #underWay = 0;
  readonly #open = new Set<number>();
  /** Open ones, and those of which the worker was not told yet how they ended. */
  #unsettled = 0;
  #confirmed: number[] = [];
  #revoked: { readonly token: number; readonly done: () => void }[] = [];
  #told: Promise<void> | undefined;

  constructor(options: TrailCommitOptions) {
    this.#options = options;
  }

  /** What these events say stands for itself, so nobody confirms it. */
  async append(events: readonly EventDraft[]): Promise<void> {
    if (events.length === 0) return;
    // What grants nothing is durable here: who was told otherwise would write it once more.
    const isStrict = this.#options.mode === 'strict' && events.some(({ type }) => claimsEffect(type));
    if (isStrict) (await this.take(events)).confirm();
    else await this.#admit(async () => void (await this.#write(events, 0)));
  }

  async take(events: readonly EventDraft[]): Promise<EventsTaken> {
    if (events.length === 0) return { confirm() {}, revoke: () => Promise.resolve() };
    if (this.#unsettled >= this.#options.maxPending)
      throw unavailable('too many events are without a word how they ended');
    this.#unsettled += 1;
    this.#lastToken += 1;
    const token = this.#lastToken;
    this.#open.add(token);
    try {
      await this.#admit(() => this.#durable(events, token));
    } catch (error) {
      // They may be on the disk, or get there yet. The caller waits for nothing more.
      void this.#revoke(token);
      throw error;
    }
    return { confirm: () => this.#confirm(token), revoke: () => this.#revoke(token) };
  }

  /** Resolves when the worker was told of everything, or after this time. */
  async drained(timeoutMs: DurationMs): Promise<void> {
    await Promise.race([this.#told, pause(timeoutMs, undefined, { ref: false })]);
  }

  async #admit(work: () => Promise<void>): Promise<void> {
    if (this.#underWay >= this.#options.maxPending) throw unavailable('too many events wait for the audit trail');
    this.#underWay += 1;
    try {
      await work();
    } finally {
      this.#underWay -= 1;
    }
  }

  async #durable(events: readonly EventDraft[], token: number): Promise<void> {
    const position = await this.#write(events, token);
    const { mode, flushed, flushTimeoutMs } = this.#options;
    if (mode === 'strict' && !(await flushed.through(position, flushTimeoutMs)))
      throw unavailable('central storage has not taken the events of this call in time');
  }

  async #write(events: readonly EventDraft[], token: number): Promise<EventPosition> {
    const { worker, keys } = this.#options;
    const known = await keys.keysOf(events);
    try {
      return await worker.take(events, known, token);
    } catch (error) {
      if (error instanceof Fault && error.reason !== 'STORE_UNAVAILABLE') throw error;
      throw unavailable('the audit trail does not answer', error);
    }
  }

  #confirm(token: number): void {
    if (!this.#open.delete(token)) return;
    this.#confirmed.push(token);
    this.#tellSoon();
  }

  #revoke(token: number): Promise<void> {
    if (!this.#open.delete(token)) return Promise.resolve();
    return new Promise((done) => {
      this.#revoked.push({ token, done });
      this.#tellSoon();
    });
  }

  #tellSoon(): void {
    this.#told ??= this.#tell().finally(() => {
      this.#told = undefined;
    });
  }

  /** One after the other, so that while the worker cannot take them they are gathered here, a number for each. */
  async #tell(): Promise<void> {
    const { worker, isGone } = this.#options;
    while (this.#confirmed.length + this.#revoked.length > 0 && !isGone()) {
      // What ends in this turn of the event loop is told together.
      await nextTurn();
      const [confirmed, revoked] = [this.#confirmed, this.#revoked];
      this.#confirmed = [];
      this.#revoked = [];
      const tokens = revoked.map(({ token }) => token);
      const told = await Promise.allSettled([
        confirmed.length > 0 ? worker.confirm(confirmed) : undefined,
        tokens.length > 0 ? worker.revoke(tokens) : undefined,
      ]);
      if (told[0].status === 'fulfilled') this.#unsettled -= confirmed.length;
      else this.#confirmed.push(...confirmed);
      if (told[1].status === 'fulfilled') this.#settle(revoked);
      else this.#revoked.push(...revoked);
      if (told.some(({ status }) => status === 'rejected')) await pause(RETRY_MS, undefined, { ref: false });
    }
    if (isGone()) this.#settle(this.#revoked.splice(0));
  }

  #settle(revoked: readonly { readonly done: () => void }[]): void {
    this.#unsettled -= revoked.length;
    for (const { done } of revoked) done();
  }
}
