import { NOTABLE, type Notice } from '#src/domain/notice.ts';
import { type DurationMs, HOUR, SECOND } from '#src/domain/time.ts';
import type { EventTally } from '#src/ports/audit.ts';
import type { NoticeOutbox, NoticeSender } from '#src/ports/notices.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { Trail } from '../trail.ts';
import type { NotMeLinks } from './not-me-links.ts';

export interface NoticeDeliveryOptions {
  /** `console`, `webhook` or `sms`; for the trail. */
  readonly channel: string;
  /** How often to look, unless a change was just made here. */
  readonly everyMs: DurationMs;
  /** Longer than a sender takes. */
  readonly leaseMs: DurationMs;
}

export interface NoticeDeliveryDependencies extends NoticeDeliveryOptions {
  readonly outbox: NoticeOutbox;
  readonly sender: NoticeSender;
  readonly links: NotMeLinks;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

type Waiting = Notice & { readonly tries: number };

/** Sent side by side, and taken from the outbox at once: all are done well within their lease. */
const AT_ONCE = 4;
/** After that many tries, or that long, nobody is told any more. */
const MAX_TRIES = 12;
const MAX_AGE: DurationMs = 24 * HOUR;
const FIRST_DELAY: DurationMs = 5 * SECOND;
const LONGEST_DELAY: DurationMs = HOUR;
/** A change is followed by others of the same step; one look takes them all. */
const SOON: DurationMs = 100;

/**
 * Takes notices from the outbox to the people. At least once: a crash after sending sends again, so each carries its id.
 * A failing channel holds up nothing but itself.
 */
export class NoticeDelivery {
  readonly #deps: NoticeDeliveryDependencies;
  #cancel: () => void = () => {};
  #running: Promise<void> | undefined;
  #stopped = false;
  #failing = false;
  /** Something was noted since the run under way began. */
  #again = false;

  constructor(deps: NoticeDeliveryDependencies) {
    this.#deps = deps;
  }

  start(): void {
    this.#plan(SOON);
  }

  /** Word of what has become durable here: if people are to be told, there is something in the outbox. */
  noted(written: readonly EventTally[]): void {
    if (!written.some(({ type }) => NOTABLE.has(type))) return;
    if (this.#running) this.#again = true;
    else this.#plan(SOON);
  }

  /** Resolves when nothing is under way; what is left waits for the next start, here or elsewhere. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#running;
  }

  /** Sends all that is due now. */
  async drain(): Promise<void> {
    this.#running ??= this.#drain().finally(() => {
      this.#running = undefined;
      this.#plan(this.#again ? SOON : this.#pause());
      this.#again = false;
    });
    await this.#running;
  }

  /** An outbox that did not answer may be back in a moment, and this sidecar the only one that looks. */
  #pause(): DurationMs {
    return this.#failing ? Math.min(FIRST_DELAY, this.#deps.everyMs) : this.#deps.everyMs;
  }

  #plan(delay: DurationMs): void {
    this.#cancel();
    if (this.#stopped) return;
    this.#cancel = this.#deps.clock.schedule(delay, () => void this.drain());
  }

  async #drain(): Promise<void> {
    const { clock, leaseMs, outbox, log } = this.#deps;
    try {
      while (!this.#stopped) {
        const due = await outbox.lease(clock.now(), leaseMs, AT_ONCE);
        await Promise.all(due.map((notice) => this.#deliver(notice)));
        if (due.length < AT_ONCE) break;
      }
      this.#failing = false;
    } catch (error) {
      // What was leased comes again by itself.
      if (!this.#failing) log.warn('notices wait: their outbox does not answer', { error: String(error) });
      this.#failing = true;
    }
  }

  async #deliver(waiting: Waiting): Promise<void> {
    const { links, sender } = this.#deps;
    const { tries, ...notice } = waiting;
    // One that ends the process each time must not do so for ever.
    if (tries > MAX_TRIES) return this.#giveUp(notice, 'it was begun too often and never finished');
    try {
      const told = await sender.send({ ...notice, notMeUrl: links.urlFor(notice) });
      await this.#settle(notice, told === 'sent' ? undefined : 'UNREACHABLE');
    } catch (error) {
      await this.#later(notice, tries, error);
    }
  }

  async #later(notice: Notice, tries: number, error: unknown): Promise<void> {
    const { clock, outbox } = this.#deps;
    const dueAt = clock.now() + this.#delay(tries);
    if (tries >= MAX_TRIES || dueAt >= notice.at + MAX_AGE) await this.#giveUp(notice, String(error));
    else await outbox.retry(notice.id, dueAt);
  }

  async #giveUp(notice: Notice, error: string): Promise<void> {
    this.#deps.log.error('a person could not be told of a change to their account', { type: notice.type, error });
    await this.#settle(notice, 'GIVEN_UP');
  }

  /** Nothing is said of a notice that is not there any more: its person was erased, or another sidecar was quicker. */
  async #settle(notice: Notice, failure: string | undefined): Promise<void> {
    const there = await this.#deps.outbox.done([notice.id]);
    if (there > 0) this.#note(notice, failure);
  }

  /** Doubles with each try; full jitter over its upper half, so that many do not come back at once. */
  #delay(tries: number): DurationMs {
    const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** Math.min(tries - 1, 20));
    const [byte = 0] = this.#deps.random.bytes(1);
    return Math.ceil(longest / 2 + (longest / 2) * (byte / 255));
  }

  #note(notice: Notice, failure: string | undefined): void {
    const { channel, trail } = this.#deps;
    const { realm, subject, type, method } = notice;
    trail.refused(
      trail.draft(failure === undefined ? 'notice.sent' : 'notice.failed', undefined, {
        realm,
        subject,
        outcome: failure === undefined ? 'SUCCESS' : 'FAILED',
        ...(failure === undefined ? {} : { reason: failure }),
        ...(method === undefined ? {} : { method }),
        facts: { about: type, channel, notice_id: notice.id },
      }),
    );
  }
}
