import { invalidFields } from '#src/domain/faults.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { AuditLog, BufferStatus, EventFilter, ExportItem, StoredEvent, Verdict } from '#src/ports/audit.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { PageTokens } from './page-tokens.ts';

export interface AuditReaderDependencies {
  readonly audit: Omit<AuditLog, 'append'>;
  readonly clock: Clock;
  readonly pageTokens: PageTokens;
  /** What the trail folded and lost since the start. */
  readonly counters: () => { readonly folded: number; readonly lost: number };
  /** A follower hears something at least this often. */
  readonly heartbeatMs: DurationMs;
}

export interface EventPage {
  readonly events: readonly StoredEvent[];
  /** '' at the end. */
  readonly nextPageToken: string;
}

const DEFAULT_PAGE = 100;
const MAX_PAGE = 1_000;
const MAX_BACKLOG = 1_000;
const FOLLOW_PAGE = 200;
/** Followers look at most this often, so that a busy trail does not spend its time on them. */
const FOLLOW_PAUSE_MS = 50;

/** Reads the trail for operators. */
export class AuditReader {
  readonly #deps: AuditReaderDependencies;

  constructor(deps: AuditReaderDependencies) {
    this.#deps = deps;
  }

  /**
   * Newest first. `pageSize` 0 means 100, more than 1000 is lowered to it. Throws Fault(invalid, TOKEN_INVALID) for a page
   * token of another search.
   */
  async query(filter: EventFilter, pageSize: number, pageToken: string): Promise<EventPage> {
    const { audit, pageTokens } = this.#deps;
    if (pageSize < 0) throw invalidFields([{ field: 'page_size', description: 'must not be negative' }]);
    const limit = Math.min(pageSize || DEFAULT_PAGE, MAX_PAGE);
    const scope = scopeOf(filter);
    const [before] = pageToken === '' ? [] : pageTokens.open(scope, pageToken, 'page_token');
    const found = await audit.query(filter, limit + 1, before === undefined ? undefined : Number(before));
    const events = found.slice(0, limit);
    const last = events.at(-1);
    const more = found.length > limit && last !== undefined;
    return { events, nextPageToken: more ? pageTokens.seal(scope, [String(last.position)]) : '' };
  }

  /** The last `backlog` events, then each new one once it is durable; undefined is a heartbeat. Ends when `signal` aborts. */
  async *follow(
    filter: EventFilter,
    backlog: number,
    signal: AbortSignal,
  ): AsyncGenerator<StoredEvent | undefined, void, undefined> {
    const { audit } = this.#deps;
    if (backlog < 0 || backlog > MAX_BACKLOG)
      throw invalidFields([{ field: 'backlog', description: `must be between 0 and ${MAX_BACKLOG}` }]);
    using news = new News(this.#deps.clock, audit, signal);
    let position = await audit.head();
    if (backlog > 0) yield* (await audit.query(filter, backlog, position + 1)).toReversed();
    while (!signal.aborted) {
      news.forget();
      const head = await audit.head();
      const found = await audit.after(filter, position, FOLLOW_PAGE);
      for (const event of found) {
        if (signal.aborted) return;
        yield event;
      }
      const last = found.at(-1)?.position ?? position;
      // A short page has been looked through to the head, whatever the filter left of it.
      position = found.length < FOLLOW_PAGE ? Math.max(head, last) : last;
      if (found.length === FOLLOW_PAGE) continue;
      if (await news.within(this.#deps.heartbeatMs)) await news.pause(FOLLOW_PAUSE_MS);
      else if (!signal.aborted) yield undefined;
    }
  }

  /** Everything that is needed to verify a stretch elsewhere, in order. Throws Fault(not-found) for a chain that is not here. */
  async *export(
    range: { readonly chainId: string; readonly from: number; readonly to: number },
    signal: AbortSignal,
  ): AsyncGenerator<ExportItem, void, undefined> {
    if (range.to !== 0 && range.to < range.from)
      throw invalidFields([{ field: 'end_sequence', description: 'must not be before start_sequence' }]);
    let cursor: string | undefined = '';
    while (cursor !== undefined && !signal.aborted) {
      const page: Awaited<ReturnType<AuditLog['exportPage']>> = await this.#deps.audit.exportPage(range, cursor);
      for (const item of page.items) {
        if (signal.aborted) return;
        yield item;
      }
      cursor = page.next;
    }
  }

  /** '' for all chains. Throws Fault(not-found) for a chain that is not here. */
  verify(chainId: string): Promise<Verdict> {
    return this.#deps.audit.verify(chainId);
  }

  async status(): Promise<BufferStatus & { readonly folded: number; readonly lost: number }> {
    return { ...(await this.#deps.audit.status()), ...this.#deps.counters() };
  }
}

/** Tells one follower of durable appends, the abort and the time. */
class News implements Disposable {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #unsubscribe: () => void;
  #happened = false;
  #wake: (() => void) | undefined;

  constructor(clock: Clock, audit: Pick<AuditLog, 'onAppend'>, signal: AbortSignal) {
    this.#clock = clock;
    this.#signal = signal;
    this.#unsubscribe = audit.onAppend(() => {
      this.#happened = true;
      this.#wake?.();
    });
  }

  forget(): void {
    this.#happened = false;
  }

  /** Whether something was appended since `forget`, waiting for it as long as `ms`. */
  async within(ms: DurationMs): Promise<boolean> {
    if (!this.#happened) await this.#wait(ms, true);
    return this.#happened;
  }

  async pause(ms: DurationMs): Promise<void> {
    await this.#wait(ms, false);
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
    this.#wake?.();
  }

  #wait(ms: DurationMs, forNews: boolean): Promise<void> {
    if (this.#signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        cancel();
        this.#wake = undefined;
        this.#signal.removeEventListener('abort', done);
        resolve();
      };
      const cancel = this.#clock.schedule(ms, done);
      this.#signal.addEventListener('abort', done, { once: true });
      if (forNews) this.#wake = done;
    });
  }
}

/** Everything that the next page has to ask the same. */
function scopeOf(filter: EventFilter): readonly string[] {
  const { realm = '', subject, types, from, until, outcome, challengeId, sessionId } = filter;
  return ['audit', realm, JSON.stringify([subject, types, from, until, outcome, challengeId, sessionId])];
}
