import { livenessAt, type Session } from '#src/domain/session.ts';
import type { DurationMs, EpochMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { Background } from './background.ts';
import type { EndNews, LogPoint, News, SessionCopies } from './contract.ts';
import type { SessionFence } from './session-fence.ts';
import { atMost } from './time-limit.ts';

/** Copies on their way to Redis at once; what is above is not copied, and read from the database next time. */
const MAX_WRITING = 256;
/** The longest that an answer waits for the word of a change to go out. */
const TELL: DurationMs = 30;
/** Sessions of which it is known how old their copy's last use is. */
const MAX_REMEMBERED = 10_000;

export interface SessionCopyKeeperOptions {
  /** The database itself. */
  readonly store: Pick<SessionStore, 'findByTokenDigest'>;
  /** Absent without Redis. */
  readonly copies?: SessionCopies | undefined;
  readonly news?: News | undefined;
  readonly fence: SessionFence;
  readonly clock: Clock;
  readonly log: Log;
}

interface Kept {
  readonly tokenDigest: string;
  readonly lastUsedAt: EpochMs;
  readonly idleMs: DurationMs;
}

/**
 * Keeps the copies of sessions in Redis up with the database, and tells the other sidecars. Always after the commit;
 * where it fails, copies are found to be out of date by the fence.
 */
export class SessionCopyKeeper {
  readonly #options: SessionCopyKeeperOptions;
  readonly #background: Background;
  readonly #kept = new Map<string, Kept>();
  readonly #refreshing = new Set<string>();

  constructor(options: SessionCopyKeeperOptions) {
    this.#options = options;
    this.#background = new Background(MAX_WRITING, (error) => {
      options.log.debug('a copy of a session could not be kept', { error: String(error) });
    });
  }

  /** A session as it was read, or made, after `point` was taken. */
  read(session: Session, point: LogPoint | undefined): void {
    const { copies, fence } = this.#options;
    if (!copies || !point || session.endReason !== undefined) return;
    const copy = { session, ...point };
    // A copy that nobody would believe would keep a better one away.
    if (!fence.believes(copy)) this.#refresh(session.realm, session.tokenDigest);
    else this.#background.run(() => copies.put(copy).then(() => this.#remember(session)));
  }

  /** These ended durably. Resolves when the word is out, or soon. */
  async ended(sessions: readonly Session[]): Promise<void> {
    const { news } = this.#options;
    if (sessions.length === 0) return;
    const ends = sessions.map(endNewsOf);
    for (const session of sessions) this.#options.fence.did(session.realm, [session.id], session.endedAt ?? 0);
    for (const { id } of sessions) this.#kept.delete(id);
    await this.#tell(() => [news?.sessionsEnded(ends), ...this.#dropped(sessions)]);
  }

  /** It was changed durably at `at`, as in the log; `before` is its token digest until then. */
  async changed(session: Session, before: string, at: EpochMs): Promise<void> {
    const { fence, news } = this.#options;
    const { id, realm } = session;
    fence.did(realm, [id], at);
    await this.#tell(() => [
      news?.sessionsChanged(realm, [id], at),
      ...this.#dropped([{ realm, tokenDigest: before }]),
    ]);
    this.#refresh(realm, session.tokenDigest);
  }

  /**
   * These were used. A copy would look idle after a while, since uses are only told to the database; so it is made anew
   * from time to time.
   */
  used(uses: readonly { readonly realm: string; readonly sessionId: string; readonly lastUsedAt: EpochMs }[]): void {
    for (const { realm, sessionId, lastUsedAt } of uses) {
      const kept = this.#kept.get(sessionId);
      if (!kept || lastUsedAt - kept.lastUsedAt < kept.idleMs / 4) continue;
      this.#kept.delete(sessionId);
      this.#refresh(realm, kept.tokenDigest);
    }
  }

  /** Resolves when nothing is on its way. */
  settled(): Promise<void> {
    return this.#background.settled();
  }

  /** Reads the session again once all is known of it, and copies that. */
  #refresh(realm: string, tokenDigest: string): void {
    const { clock, copies, fence, store } = this.#options;
    const key = `${realm}\n${tokenDigest}`;
    if (!copies || this.#refreshing.has(key)) return;
    const refresh = async () => {
      const isKnown = await fence.catchUp(realm);
      // Whoever asks from here on may have heard of more.
      this.#refreshing.delete(key);
      if (!isKnown) return;
      const point = fence.position(realm);
      const session = await store.findByTokenDigest(realm, tokenDigest);
      if (!session || !point || !livenessAt(session, clock.now()).alive) return;
      const copy = { session, ...point };
      if (!fence.believes(copy)) return;
      await copies.put(copy);
      this.#remember(session);
    };
    if (this.#background.run(refresh)) this.#refreshing.add(key);
  }

  #remember({ id, tokenDigest, lastUsedAt, idleMs }: Session): void {
    if (this.#kept.size >= MAX_REMEMBERED) {
      const [oldest] = this.#kept.keys();
      if (oldest !== undefined) this.#kept.delete(oldest);
    }
    this.#kept.delete(id);
    this.#kept.set(id, { tokenDigest, lastUsedAt, idleMs });
  }

  #dropped(sessions: readonly Pick<Session, 'realm' | 'tokenDigest'>[]): readonly Promise<void>[] {
    const { copies } = this.#options;
    if (!copies) return [];
    const byRealm = Map.groupBy(sessions, ({ realm }) => realm);
    return [...byRealm].map(([realm, of]) =>
      copies.drop(
        realm,
        of.map(({ tokenDigest }) => tokenDigest),
      ),
    );
  }

  /** Goes on in the background when it takes longer. */
  async #tell(begin: () => readonly (Promise<void> | undefined)[]): Promise<void> {
    const { clock, log } = this.#options;
    if (!this.#options.news && !this.#options.copies) return;
    const telling = Promise.allSettled(begin());
    void telling.then((results) => {
      const failed = results.find(({ status }) => status === 'rejected');
      if (failed) log.debug('a change of sessions could not be told', {});
    });
    await atMost(clock, TELL, telling);
  }
}

function endNewsOf({ realm, id, subject, endReason, endedAt }: Session): EndNews {
  return { realm, sessionId: id, subject, reason: endReason ?? 'REVOKED', endedAt: endedAt ?? 0 };
}
