import type { SessionChange } from '#src/domain/session.ts';
import type { DurationMs, EpochMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { ChangeLogView, type LogPage } from './change-log-view.ts';
import { within } from './time-limit.ts';

/** Entries per question. */
const PAGE = 500;
/** A sidecar that is further behind than this begins anew: it takes less than catching up. */
const MAX_PAGES = 20;
const SLOTS = 16_384;
/** How far back a sidecar reads that begins. */
const LOOK_BACK = 4_000;

export interface RealmFollowerOptions {
  readonly store: Pick<SessionStore, 'changesAfter'>;
  readonly realm: string;
  readonly slots?: number;
  readonly timeoutMs: DurationMs;
  readonly clock: Clock;
  readonly log: Log;
  /** What is new, before it counts as known. */
  readonly tell: (entries: readonly SessionChange[]) => void;
  /** The log had a gap, or was another one. */
  readonly lost: () => void;
}

/** By the monotonic clock, which stands still while the machine sleeps, and by the wall clock, which can be set. */
export interface Instant {
  readonly monotonic: number;
  readonly wall: EpochMs;
}

/** Follows the log of one realm. */
export class RealmFollower {
  readonly view: ChangeLogView;
  readonly #options: RealmFollowerOptions;
  #lastLook: Instant | undefined;
  #looking: Promise<boolean> | undefined;
  #next: Promise<boolean> | undefined;

  constructor(options: RealmFollowerOptions) {
    this.#options = options;
    this.view = new ChangeLogView(options.slots ?? SLOTS);
  }

  /** When the last look that succeeded began: all that was committed until then is known. */
  get lastLook(): Instant | undefined {
    return this.#lastLook;
  }

  /** A look that begins after the call; those who ask while one is under way share the next. False if it failed. */
  look(): Promise<boolean> {
    if (this.#looking) {
      this.#next ??= this.#looking.then(() => {
        this.#next = undefined;
        return this.look();
      });
      return this.#next;
    }
    const looking = this.#look().finally(() => {
      this.#looking = undefined;
    });
    this.#looking = looking;
    return looking;
  }

  async #look(): Promise<boolean> {
    const { clock, log, realm } = this.#options;
    const begun = { monotonic: clock.monotonic(), wall: clock.now() };
    const heard = this.view.takeHeard();
    try {
      if (this.view.isKnown) await this.#catchUp();
      else await this.#begin();
    } catch (error) {
      this.view.settle(heard, false);
      log.debug('the log of session changes could not be read', { realm, error: String(error) });
      return false;
    }
    this.view.settle(heard, true);
    this.#lastLook = begun;
    return true;
  }

  async #catchUp(): Promise<void> {
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const page = await this.#page(Math.max(0, this.view.to - 1));
      const wentBack = page.head < this.view.to;
      const fresh = this.view.extend(page);
      if (fresh === 'broken') return this.#beginAnew(wentBack);
      this.#options.tell(fresh);
      if (this.view.to >= page.head) return;
    }
    await this.#beginAnew(false);
  }

  async #beginAnew(wentBack: boolean): Promise<void> {
    const { log, lost, realm } = this.#options;
    const fields = { realm, known: this.view.to };
    if (wentBack) {
      log.error(
        'the log of session changes went back: the database was set back; trusting no copy from before',
        fields,
      );
    } else {
      log.warn(
        'the log of session changes does not go on from where it was known; trusting no copy from before',
        fields,
      );
    }
    // Whatever is known is of no use from here on, also if what follows fails.
    this.view.forget();
    this.#lastLook = undefined;
    lost();
    await this.#begin();
  }

  /** From some way back, so that copies that were written before this sidecar started can be believed. */
  async #begin(): Promise<void> {
    const { head, oldest } = await this.#page(Number.MAX_SAFE_INTEGER);
    const page = await this.#page(Math.max(0, oldest - 1, head - LOOK_BACK));
    this.view.begin(page);
    for (let pages = 0; this.view.to < page.head && pages < MAX_PAGES; pages++) {
      const more = await this.#page(Math.max(0, this.view.to - 1));
      if (this.view.extend(more) === 'broken') break;
    }
    if (this.view.to >= page.head) return;
    this.view.forget();
    throw new Error('the log of session changes moved while it was read');
  }

  #page(after: number): Promise<LogPage> {
    const { store, realm, clock, timeoutMs } = this.#options;
    return within(clock, timeoutMs, store.changesAfter(realm, after, PAGE));
  }
}
