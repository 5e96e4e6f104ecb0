import type { Caller } from '#src/domain/caller.ts';
import { Fault, invalidFields } from '#src/domain/faults.ts';
import { isId } from '#src/domain/ids.ts';
import { livenessAt, type Session } from '#src/domain/session.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { EndSessions, SessionStore } from '#src/ports/session-store.ts';
import type { PageTokens } from '../page-tokens.ts';
import type { SessionEndings } from './session-endings.ts';
import type { SessionUses } from './session-uses.ts';
import type { SessionValidation } from './session-validation.ts';

export interface SessionDirectoryDependencies {
  readonly store: Pick<SessionStore, 'read' | 'list'>;
  readonly validation: SessionValidation;
  readonly endings: SessionEndings;
  readonly uses: SessionUses;
  readonly pageTokens: PageTokens;
  readonly clock: Clock;
}

export interface SessionQuery {
  readonly realm: string;
  readonly subject: string;
  readonly includeEnded: boolean;
  /** 0 means DEFAULT_PAGE; more than MAX_PAGE is lowered to it. */
  readonly pageSize: number;
  readonly pageToken: string;
}

const DEFAULT_PAGE = 50;
const MAX_PAGE = 200;

/** Reads, lists and revokes sessions by name. */
export class SessionDirectory {
  readonly #deps: SessionDirectoryDependencies;

  constructor(deps: SessionDirectoryDependencies) {
    this.#deps = deps;
  }

  /** Throws Fault(not-found, SESSION_NOT_FOUND). */
  async get(realm: string, sessionId: string): Promise<Session> {
    const session = isId('session', sessionId) ? await this.#deps.store.read(realm, sessionId) : undefined;
    if (!session) throw new Fault('not-found', 'SESSION_NOT_FOUND', 'there is no session with this id');
    return this.#asOfNow(session);
  }

  /** Newest first. Throws Fault(invalid, TOKEN_INVALID) for a page token of another query. */
  async list(query: SessionQuery): Promise<{ readonly sessions: readonly Session[]; readonly nextPageToken: string }> {
    const { store, clock, pageTokens } = this.#deps;
    const { realm, subject, includeEnded, pageSize, pageToken } = query;
    if (pageSize < 0) throw invalidFields([{ field: 'page_size', description: 'must not be negative' }]);
    const scope = ['sessions', realm, subject, String(includeEnded)];
    const limit = Math.min(pageSize || DEFAULT_PAGE, MAX_PAGE);
    const [createdAt, id] = pageToken === '' ? [] : pageTokens.open(scope, pageToken, 'page_token');
    const rows = await store.list({
      realm,
      subject,
      includeEnded,
      limit: limit + 1,
      ...(createdAt !== undefined && id !== undefined ? { after: { createdAt: Number(createdAt), id } } : {}),
      now: clock.now(),
    });
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    const more = rows.length > limit && last !== undefined;
    return {
      sessions: page.map((session) => this.#asOfNow(session)),
      nextPageToken: more ? pageTokens.seal(scope, [String(last.createdAt), last.id]) : '',
    };
  }

  /** Signs out. Ended sessions stay as they are; undefined when no session has or had this token. */
  async revokeByToken(realm: string, token: string, caller: Caller): Promise<Session | undefined> {
    const session = await this.#deps.validation.find(realm, token);
    return session && this.#revoke(session, 'LOGOUT', caller);
  }

  /**
   * Ends the session with this id, which has to be the subject's; only operators may leave the subject open.
   * Throws Fault(not-found, SESSION_NOT_FOUND) or Fault(denied, NOT_OWNER).
   */
  async revokeById(realm: string, sessionId: string, subject: string, caller: Caller): Promise<Session> {
    if (subject === '' && !caller.roles.has('operator')) {
      throw invalidFields([{ field: 'subject', description: 'is needed with session_id, except for operators' }]);
    }
    const session = await this.get(realm, sessionId).catch(async (error: unknown) => {
      if (!isId('session', sessionId) || !(error instanceof Fault) || error.reason !== 'STORE_UNAVAILABLE') throw error;
      // Nobody can say whose it is, but its end can be in force all the same, if it is the subject's; then this throws too.
      const target = { kind: 'ids', sessionIds: [sessionId], ...(subject === '' ? {} : { subject }) } as const;
      await this.#deps.endings.end(realm, target, endReasonOf(caller), caller);
      return this.get(realm, sessionId);
    });
    if (subject !== '' && session.subject !== subject) {
      throw new Fault('denied', 'NOT_OWNER', 'session_id: is a session of somebody else');
    }
    return this.#revoke(session, endReasonOf(caller), caller);
  }

  /** Ends all sessions of a person, or all but that of `exceptToken`; undefined when that token is not good for the person. */
  async revokeAll(realm: string, subject: string, exceptToken: string, caller: Caller): Promise<number | undefined> {
    let exceptSessionId = '';
    if (exceptToken !== '') {
      const kept = await this.#deps.validation.authenticate(realm, exceptToken);
      if (kept?.subject !== subject) return undefined;
      exceptSessionId = kept.id;
    }
    const target: EndSessions['target'] = { kind: 'subject', subject, exceptSessionId };
    return (await this.#deps.endings.end(realm, target, endReasonOf(caller), caller)).length;
  }

  async #revoke(session: Session, reason: 'LOGOUT' | 'REVOKED' | 'OPERATOR', caller: Caller): Promise<Session> {
    const { endings, store } = this.#deps;
    // By the clock it is over everywhere. Of any other end this sidecar may not have heard, if the one that made it is gone;
    // `end` then takes note of it. Without `endedAt` it is in force and not durable yet.
    const isByClock = session.endReason === 'EXPIRED' || session.endReason === 'IDLE';
    if (isByClock && session.endedAt !== undefined) return session;
    const target: EndSessions['target'] = { kind: 'ids', sessionIds: [session.id], subject: session.subject };
    const [ended] = await endings.end(session.realm, target, reason, caller);
    return ended ?? (await store.read(session.realm, session.id)) ?? session;
  }

  /** A session whose time is up is shown as ended even before the sweep has come by; an unsaved use is shown too. */
  #asOfNow(session: Session): Session {
    const { clock, uses } = this.#deps;
    if (session.endReason !== undefined) return session;
    const lastUsedAt = uses.latest()(session);
    const current = lastUsedAt === session.lastUsedAt ? session : { ...session, lastUsedAt };
    const liveness = livenessAt(current, clock.now());
    if (liveness.alive) return current;
    const endedAt = Math.min(current.expiresAt, lastUsedAt + current.idleMs);
    return { ...current, endReason: liveness.reason, endedAt };
  }
}

/** An operator acts as such only where the caller is no application: an application acts for its people. */
function endReasonOf(caller: Caller): 'REVOKED' | 'OPERATOR' {
  return caller.roles.has('operator') && !caller.roles.has('application') ? 'OPERATOR' : 'REVOKED';
}
