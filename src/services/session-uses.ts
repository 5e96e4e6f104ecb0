import type { Session } from '#src/domain/session.ts';
import type { DurationMs, EpochMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { SessionStore } from '#src/ports/stores.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { type CachedSession, plainAnswer } from './session-cache.ts';

export interface SessionUsesDependencies {
  readonly store: Pick<SessionStore, 'touch'>;
  readonly clock: Clock;
  readonly log: Log;
  /** Uses are told to the store this often. */
  readonly flushMs: DurationMs;
  /** How many sessions may wait to be told; beyond it uses are forgotten, which only makes idling stricter. */
  readonly maxPending: number;
}

interface Use {
  readonly realm: string;
  readonly sessionId: string;
  lastUsedAt: EpochMs;
}

/** Uses of sessions, noted in memory and told to the store in batches, so that a warm validation touches no disk. */
export class SessionUses {
  readonly #deps: SessionUsesDependencies;
  #pending = new Map<string, Use>();
  #cancel: (() => void) | undefined;
  #flushing: Promise<void> = Promise.resolve();

  constructor(deps: SessionUsesDependencies) {
    this.#deps = deps;
  }

  /** Notes a use at `now`. A clock that went back moves nothing. */
  note(entry: CachedSession, now: EpochMs): void {
    if (now <= entry.lastUsedAt) return;
    entry.lastUsedAt = now;
    const { session } = entry;
    const pending = this.#pending.get(session.id);
    if (pending) pending.lastUsedAt = Math.max(pending.lastUsedAt, now);
    else this.#add({ realm: session.realm, sessionId: session.id, lastUsedAt: now });
    if (now - session.lastUsedAt >= this.#deps.flushMs) refresh(entry);
  }

  /** The last use of a session just read from the store: its own, or a newer one that still waits here. */
  latest(session: Session): EpochMs {
    return Math.max(session.lastUsedAt, this.#pending.get(session.id)?.lastUsedAt ?? 0);
  }

  /** Resolves when everything noted so far is told, or the store refused it; then it waits for the next time. */
  flush(): Promise<void> {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#flushing = this.#flushing.then(() => this.#tell());
    return this.#flushing;
  }

  #add(use: Use): void {
    const { clock, flushMs, maxPending } = this.#deps;
    if (this.#pending.size >= maxPending) return;
    this.#pending.set(use.sessionId, use);
    this.#cancel ??= clock.schedule(flushMs, () => void this.flush());
  }

  async #tell(): Promise<void> {
    const { store, log } = this.#deps;
    if (this.#pending.size === 0) return;
    const uses = this.#pending;
    this.#pending = new Map();
    try {
      await store.touch([...uses.values()]);
    } catch (error) {
      log.warn('uses of sessions could not be stored; trying again', { count: uses.size, error: String(error) });
      for (const use of uses.values()) if (!this.#pending.has(use.sessionId)) this.#add(use);
    }
  }
}

/** Lets the shown time of last use follow the exact one. */
function refresh(entry: CachedSession): void {
  entry.session = { ...entry.session, lastUsedAt: entry.lastUsedAt };
  entry.plain = plainAnswer(entry.session);
  if (entry.checked) {
    entry.checked = { ...entry.checked, answer: { ...entry.checked.answer, session: entry.session } };
  }
}
