import { Fault } from '#src/domain/faults.ts';
import { livenessAt, type Session } from '#src/domain/session.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Dependencies } from '#src/ports/dependencies.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type {
  CreateSession,
  EndSessions,
  NoteRisk,
  RotateSession,
  SessionPage,
  SessionStore,
} from '#src/ports/session-store.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { News, PendingEnd, SessionCopies } from './contract.ts';
import { inForceNotDurable, newsOf, type PendingEndsDrain } from './pending-ends-drain.ts';
import type { SessionCopyKeeper } from './session-copy-keeper.ts';
import type { SessionFence } from './session-fence.ts';
import { isStoreAway } from './store-away.ts';
import { atMost } from './time-limit.ts';

/** The longest that the answer to an end waits for the news of it. */
const TELL: DurationMs = 30;

export interface FrontedSessionStoreOptions {
  /** The database itself: where everything is decided. */
  readonly store: SessionStore;
  /** Absent without Redis; so are the next two. */
  readonly copies?: SessionCopies | undefined;
  readonly pending?: PendingEndsDrain | undefined;
  readonly news?: News | undefined;
  readonly keeper: SessionCopyKeeper;
  readonly fence: SessionFence;
  readonly dependencies: Dependencies;
  readonly retryAfterMs: DurationMs;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Sessions in PostgreSQL with copies in Redis in front. A copy answers only while the fence believes it; all that changes
 * anything is decided in the database, and told afterwards. Only the end of a session is in force without the database.
 */
export class FrontedSessionStore implements SessionStore {
  readonly #options: FrontedSessionStoreOptions;

  constructor(options: FrontedSessionStoreOptions) {
    this.#options = options;
  }

  async create(command: CreateSession): ReturnType<SessionStore['create']> {
    const { fence, keeper, store } = this.#options;
    const point = fence.position(command.session.realm);
    const result = await store.create(command);
    if (result.outcome === 'repeat') await this.#catchUp(command.session.realm);
    if (result.outcome !== 'created') return result;
    keeper.read(command.session, point);
    await keeper.ended(result.evicted);
    return result;
  }

  /**
   * Without the database only what the fence believes and nobody has ended meanwhile; an `endReason` without `endedAt`
   * is in force and not durable. Throws Fault(unavailable) when nobody can say.
   */
  async findByTokenDigest(realm: string, tokenDigest: string): Promise<Session | undefined> {
    const { fence, keeper, pending, store } = this.#options;
    const copied = await this.#copied(realm, tokenDigest);
    if (copied) return copied;
    const point = fence.position(realm);
    const knewNone = pending?.knowsNone;
    const session = await store.findByTokenDigest(realm, tokenDigest);
    if (!session || session.endReason !== undefined) return session;
    if (pending && !pending.settled) {
      if (await pending.isEnded(session)) return endedByPending(session);
      // One that is known may have become durable between the two questions.
      return knewNone && pending.knowsNone ? session : store.findByTokenDigest(realm, tokenDigest);
    }
    keeper.read(session, point);
    return session;
  }

  read(realm: string, sessionId: string): Promise<Session | undefined> {
    return this.#options.store.read(realm, sessionId);
  }

  list(page: SessionPage): Promise<readonly Session[]> {
    return this.#options.store.list(page);
  }

  async touch(uses: Parameters<SessionStore['touch']>[0]): Promise<void> {
    await this.#options.store.touch(uses);
    this.#options.keeper.used(uses);
  }

  async rotate(command: RotateSession): ReturnType<SessionStore['rotate']> {
    const { keeper, store } = this.#options;
    const result = await store.rotate(command);
    if (result.outcome === 'rotated') await keeper.changed(result.session, command.oldTokenDigest, command.now);
    if (result.outcome === 'repeat') await this.#catchUp(command.realm);
    return result;
  }

  async setLabels(command: Parameters<SessionStore['setLabels']>[0]): ReturnType<SessionStore['setLabels']> {
    const { keeper, store } = this.#options;
    const result = await store.setLabels(command);
    if (result.outcome === 'updated') await keeper.changed(result.session, result.session.tokenDigest, command.now);
    return result;
  }

  async noteRisk(command: NoteRisk): ReturnType<SessionStore['noteRisk']> {
    const { keeper, store } = this.#options;
    const result = await store.noteRisk(command);
    if (result.outcome === 'noted') await keeper.changed(result.session, result.session.tokenDigest, command.now);
    return result;
  }

  /**
   * While the database is away, in force on every sidecar when it throws Fault(unavailable) with the metadata
   * `inForce`; without Redis either, nothing is done.
   */
  async end(command: EndSessions): Promise<readonly Session[]> {
    const ended = await this.#ended(command);
    if (!isByTime(command) && mayHaveEndedBefore(command, ended)) await this.#catchUp(command.realm);
    return ended;
  }

  due(now: number, limit: number): Promise<readonly Session[]> {
    return this.#options.store.due(now, limit);
  }

  revocationsAfter(realm: string, position: number, limit: number): ReturnType<SessionStore['revocationsAfter']> {
    return this.#options.store.revocationsAfter(realm, position, limit);
  }

  changesAfter(realm: string, position: number, limit: number): ReturnType<SessionStore['changesAfter']> {
    return this.#options.store.changesAfter(realm, position, limit);
  }

  purge(before: number, limit: number): Promise<number> {
    return this.#options.store.purge(before, limit);
  }

  async #ended(command: EndSessions): Promise<readonly Session[]> {
    const { keeper, store } = this.#options;
    try {
      const ended = await store.end(command);
      await keeper.ended(ended);
      return ended;
    } catch (error) {
      if (!isStoreAway(error) || isByTime(command)) throw error;
      throw (await this.#putInForce(command)) ?? error;
    }
  }

  /**
   * Before the answer that something has been done by another sidecar, which may not have lived to tell anybody: whoever
   * answers goes by it from then on. Throws Fault(unavailable) when that cannot be found out; a repeat does no harm.
   */
  async #catchUp(realm: string): Promise<void> {
    const { fence, retryAfterMs } = this.#options;
    if (await fence.catchUp(realm)) return;
    throw new Fault('unavailable', 'STORE_UNAVAILABLE', 'it is done, but this sidecar could not yet take note of it', {
      retryAfterMs,
      metadata: { dependency: 'postgres' },
    });
  }

  /** The session by its copy, if that is good for an answer now. */
  async #copied(realm: string, tokenDigest: string): Promise<Session | undefined> {
    const { clock, copies, dependencies, fence, log, pending } = this.#options;
    const isUp = (name: 'redis' | 'postgres') => dependencies.state(name)?.up !== false;
    if (!copies || !isUp('redis') || !fence.isFresh(realm)) return undefined;
    // With the database there is no reason to go by anything that is in doubt.
    if (isUp('postgres') && pending?.settled === false) return undefined;
    let copy: Awaited<ReturnType<SessionCopies['find']>>;
    try {
      copy = await copies.find(realm, tokenDigest);
    } catch (error) {
      log.debug('a copy of a session could not be read', { error: String(error) });
      return undefined;
    }
    if (copy?.session.realm !== realm || copy.session.tokenDigest !== tokenDigest) return undefined;
    const { session } = copy;
    const hasPending = pending !== undefined && (await pending.isEnded(session));
    // Last, with nothing to wait for between it and the answer.
    if (!fence.isFresh(realm) || !fence.believes(copy)) return undefined;
    if (hasPending) return endedByPending(session);
    const liveness = livenessAt(session, clock.now());
    if (liveness.alive) return session;
    // That its time is up needs no database; whether somebody has used it meanwhile does.
    return liveness.reason === 'EXPIRED' && !isUp('postgres') ? { ...session, endReason: 'EXPIRED' } : undefined;
  }

  async #putInForce(command: EndSessions): Promise<Fault | undefined> {
    const { clock, log, news, pending, retryAfterMs } = this.#options;
    if (!pending) return undefined;
    const { event, now, realm, reason, target } = command;
    const end: PendingEnd = { id: event.id, realm, target, reason, at: now, event };
    try {
      await pending.add(end);
    } catch (error) {
      log.debug('an end could not be put in force without the database', { error: String(error) });
      return undefined;
    }
    if (news) await atMost(clock, TELL, news.sessionsEnded(newsOf(end)));
    return inForceNotDurable(retryAfterMs);
  }
}

function endedByPending(session: Session): Session {
  return { ...session, endReason: 'REVOKED' };
}

/** Whether the command names sessions that were ended by somebody else already. */
function mayHaveEndedBefore({ target }: EndSessions, ended: readonly Session[]): boolean {
  return target.kind === 'subject' || target.sessionIds.length > ended.length;
}

/** These follow from the clock, so there is nothing to put in force. */
function isByTime({ reason }: EndSessions): boolean {
  return reason === 'EXPIRED' || reason === 'IDLE' || reason === 'EVICTED';
}
