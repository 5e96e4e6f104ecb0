import type { Session } from '#src/domain/session.ts';
import type { DurationMs, EpochMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
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
  readonly subject: string;
  readonly sessionId: string;
  lastUsedAt: EpochMs;
}

/** Uses of sessions, noted in memory and told to the store in batches, so that a warm validation touches no disk. */
export class SessionUses {
  readonly #deps: SessionUsesDependencies;
  #pending = new Map<string, Use>();
  #bySubject = new Map<string, Map<string, Use>>();
  /** Batches on their way to the store. */
  readonly #telling = new Set<ReadonlyMap<string, Use>>();
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
    else this.#add({ realm: session.realm, subject: session.subject, sessionId: session.id, lastUsedAt: now });
    if (now - session.lastUsedAt >= this.#deps.flushMs) refresh(entry);
  }

  /**
   * For the last use of a session: the stored one, or a newer one that is known here. To be taken before the store is
   * read, since what waits now may be told while the read is under way.
   */
  latest(): (session: Session) => EpochMs {
    const before = [this.#pending, ...this.#telling];
    return ({ id, lastUsedAt }) => {
      let latest = lastUsedAt;
      for (const uses of [...before, this.#pending]) latest = Math.max(latest, uses.get(id)?.lastUsedAt ?? 0);
      return latest;
    };
  }

  /** Resolves when everything noted so far is told, or the store refused it; then it waits for the next time. */
  flush(): Promise<void> {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#flushing = this.#flushing.then(() => {
      const uses = this.#pending;
      this.#pending = new Map();
      this.#bySubject = new Map();
      return this.#tell(uses);
    });
    return this.#flushing;
  }

  /** Tells what is noted of one person, before an intent that goes by which of their sessions are alive, or used least. */
  async flushOf(realm: string, subject: string): Promise<void> {
    // They stay in the queue too: telling twice does no harm.
    await this.#tell(this.#bySubject.get(personKey(realm, subject)) ?? NONE);
  }

  #add(use: Use): void {
    const { clock, flushMs, maxPending } = this.#deps;
    if (this.#pending.size >= maxPending) return;
    this.#pending.set(use.sessionId, use);
    const key = personKey(use.realm, use.subject);
    const theirs = this.#bySubject.get(key) ?? new Map<string, Use>();
    this.#bySubject.set(key, theirs.set(use.sessionId, use));
    this.#cancel ??= clock.schedule(flushMs, () => void this.flush());
  }

  async #tell(uses: ReadonlyMap<string, Use>): Promise<void> {
    const { store, log } = this.#deps;
    if (uses.size === 0) return;
    const batch = [...uses.values()].map(({ realm, sessionId, lastUsedAt }) => ({ realm, sessionId, lastUsedAt }));
    this.#telling.add(uses);
    try {
      await store.touch(batch);
    } catch (error) {
      log.warn('uses of sessions could not be stored; trying again', { count: uses.size, error: String(error) });
      for (const use of uses.values()) if (!this.#pending.has(use.sessionId)) this.#add(use);
    } finally {
      this.#telling.delete(uses);
    }
  }
}

const NONE: ReadonlyMap<string, Use> = new Map();

function personKey(realm: string, subject: string): string {
  return `${realm}\n${subject}`;
}

/** Lets the shown time of last use follow the exact one. */
function refresh(entry: CachedSession): void {
  entry.session = { ...entry.session, lastUsedAt: entry.lastUsedAt };
  entry.plain = plainAnswer(entry.session);
  if (entry.checked) {
    entry.checked = { ...entry.checked, answer: { ...entry.checked.answer, session: entry.session } };
  }
}
