import { Fault } from '#src/domain/faults.ts';
import type { Revocation } from '#src/domain/session.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { Signals } from '#src/ports/signals.ts';
import type { PageTokens } from '../page-tokens.ts';

export interface RevocationFeedDependencies {
  readonly store: Pick<SessionStore, 'revocationsAfter'>;
  readonly signals: Signals;
  readonly cursors: PageTokens;
  readonly clock: Clock;
  /** An empty batch goes out when nothing else did for this long. */
  readonly heartbeatMs: DurationMs;
  /** Revocations per message. */
  readonly batch: number;
}

export interface RevocationBatch {
  readonly revocations: readonly Revocation[];
  /** Resume from here. */
  readonly cursor: string;
}

/**
 * Ended sessions as a stream that can be resumed. The store's log is the truth, signals only say when to look; the
 * heartbeat looks too. One timer serves all followers, and a follower that does not read holds no queue.
 */
export class RevocationFeed {
  readonly #deps: RevocationFeedDependencies;
  readonly #waiting = new Map<() => void, string>();
  #cancelHeartbeat: (() => void) | undefined;
  /** Grows with each news, by realm, so that what comes while a follower is busy is not missed. */
  readonly #news = new Map<string, number>();

  constructor(deps: RevocationFeedDependencies) {
    this.#deps = deps;
    deps.signals.onSessionsEnded((revocations) => {
      for (const realm of new Set(revocations.map((revocation) => revocation.realm))) {
        this.#news.set(realm, (this.#news.get(realm) ?? 0) + 1);
        for (const [wake, of] of this.#waiting) if (of === realm) wake();
      }
    });
  }

  /** How many followers wait for news. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Everything after `cursor` ('' means from now on), until `signal` aborts. The first batch comes at once. Throws
   * Fault(invalid, TOKEN_INVALID) for a foreign cursor and Fault(out-of-range, CURSOR_EXPIRED) when entries after it are
   * gone, or when it is from a future that this store has never seen.
   */
  async *follow(realm: string, cursor: string, signal: AbortSignal): AsyncGenerator<RevocationBatch, void, undefined> {
    const { store, cursors, batch } = this.#deps;
    const scope = ['revocations', realm];
    let position = cursor === '' ? undefined : Number(cursors.open(scope, cursor, 'cursor')[0]);
    while (!signal.aborted) {
      const seen = this.#news.get(realm) ?? 0;
      const page = await store.revocationsAfter(realm, position ?? Number.MAX_SAFE_INTEGER, batch);
      position ??= page.head;
      if (position < page.oldest - 1 || position > page.head) throw cursorExpired();
      // Behind the last entry there are other changes of sessions at most: to stand before them would let the cursor run out.
      position = page.entries.length < batch ? page.head : (page.entries.at(-1)?.position ?? position);
      if (signal.aborted) return;
      yield { revocations: page.entries, cursor: cursors.seal(scope, [String(position)]) };
      if (page.entries.length < batch) await this.#wait(realm, seen, signal);
    }
  }

  /** Resolves with the next news of the realm, the next heartbeat, or the abort. */
  #wait(realm: string, seen: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted || seen !== (this.#news.get(realm) ?? 0)) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake);
        this.#waiting.delete(wake);
        if (this.#waiting.size === 0) {
          this.#cancelHeartbeat?.();
          this.#cancelHeartbeat = undefined;
        }
        resolve();
      };
      signal.addEventListener('abort', wake, { once: true });
      this.#waiting.set(wake, realm);
      this.#cancelHeartbeat ??= this.#deps.clock.schedule(this.#deps.heartbeatMs, () => {
        this.#cancelHeartbeat = undefined;
        for (const each of [...this.#waiting.keys()]) each();
      });
    });
  }
}

function cursorExpired(): Fault {
  return new Fault(
    'out-of-range',
    'CURSOR_EXPIRED',
    'cursor: entries after it are no longer kept; drop every cached session and start without a cursor',
  );
}
