import { livenessAt, MAX_NOTED_CHANGES, type Session } from '#src/domain/session.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { SecretBox } from '#src/ports/runtime.ts';
import type {
  CreateSession,
  EndSessions,
  NoteRisk,
  RotateSession,
  SessionPage,
  SessionStore,
} from '#src/ports/session-store.ts';
import { eventOfSession } from './derived-events.ts';
import type { SqlExecutor, Tx } from './executor.ts';
import { burnReceipt } from './receipt-burns.ts';
import { repeatOf, storeClaim } from './request-claims.ts';
import { revocationsAfter, trimRevocations } from './revocation-log.ts';
import { present } from './row.ts';
import { SessionRows } from './session-rows.ts';

export class SqlSessionStore implements SessionStore {
  readonly #sql: SqlExecutor;
  readonly #rows: SessionRows;

  /** `secrets` seals the device record of each session. */
  constructor(sql: SqlExecutor, secrets: SecretBox) {
    this.#sql = sql;
    this.#rows = new SessionRows(secrets);
  }

  create(command: CreateSession): ReturnType<SessionStore['create']> {
    const { session, cap, now, request } = command;
    return this.#sql.unit(async (tx) => {
      const repeat = await repeatOf(tx, request, now);
      if (repeat) return repeat;
      const live = await this.#live(tx, session.realm, session.subject, now);
      const chosen = live.filter(({ id }) => command.endSessionIds.includes(id));
      if (chosen.length < new Set(command.endSessionIds).size) return { outcome: 'unknown_session' };
      const staying = live.filter(({ id }) => !command.endSessionIds.includes(id));
      const surplus = Math.max(0, staying.length + 1 - cap);
      if (surplus > 0 && (command.policy !== 'evict_oldest' || surplus > staying.length)) {
        return { outcome: 'limit', candidates: live };
      }
      if (command.receipt && !(await burnReceipt(tx, session.realm, command.receipt, now))) {
        return { outcome: 'receipt_spent' };
      }
      const going = [...chosen, ...staying.toSorted(byLeastRecentUse).slice(0, surplus)];
      const evicted: Session[] = [];
      for (const old of going) {
        const ended = await this.#rows.end(tx, old, 'EVICTED', now);
        if (!ended) continue;
        evicted.push(ended);
        tx.record({ ...eventOfSession(command.evictionEvent, ended), reason: 'EVICTED' });
      }
      await this.#rows.insert(tx, session);
      await storeClaim(tx, request, now);
      tx.record(...command.events);
      return { outcome: 'created', evicted };
    });
  }

  findByTokenDigest(realm: string, tokenDigest: string): Promise<Session | undefined> {
    return this.#sql.unit(async (tx) => {
      const [session] = await this.#rows.select(tx, 'realm = $1 AND token_digest = $2', realm, tokenDigest);
      return session;
    });
  }

  read(realm: string, sessionId: string): Promise<Session | undefined> {
    return this.#sql.unit((tx) => this.#read(tx, realm, sessionId));
  }

  list(page: SessionPage): Promise<readonly Session[]> {
    const { realm, subject, limit, now } = page;
    const live = page.includeEnded ? '' : 'AND ended_at IS NULL AND lapses_at > $6';
    const after = page.after ?? { createdAt: Number.MAX_SAFE_INTEGER, id: '' };
    return this.#sql.unit((tx) =>
      this.#rows.select(
        tx,
        // An id is never '', so without `after` every row is older.
        `realm = $1 AND subject = $2 AND (created_at < $3 OR (created_at = $3 AND id < $4)) ${live}
         ORDER BY created_at DESC, id DESC LIMIT $5`,
        realm,
        subject,
        after.createdAt,
        after.id,
        limit,
        ...(page.includeEnded ? [] : [now]),
      ),
    );
  }

  touch(uses: Parameters<SessionStore['touch']>[0]): Promise<void> {
    return this.#sql.unit(async (tx) => {
      for (const { realm, sessionId, lastUsedAt } of uses) {
        await tx.run(
          `UPDATE sessions SET last_used_at = $3
           WHERE id = $1 AND realm = $2 AND ended_at IS NULL AND last_used_at < $3`,
          sessionId,
          realm,
          lastUsedAt,
        );
      }
    });
  }

  rotate(command: RotateSession): ReturnType<SessionStore['rotate']> {
    const { realm, sessionId, now, request } = command;
    return this.#sql.unit(async (tx) => {
      const repeat = await repeatOf(tx, request, now);
      if (repeat) return repeat;
      const current = await this.#read(tx, realm, sessionId);
      if (!current || !livenessAt(current, now).alive || current.tokenDigest !== command.oldTokenDigest) {
        return { outcome: 'not_live' };
      }
      if (!(await burnReceipt(tx, realm, command.receipt, now))) return { outcome: 'receipt_spent' };
      const { risk, mfaAt, ...rest } = current;
      const session: Session = {
        ...rest,
        tokenDigest: command.newTokenDigest,
        amr: command.amr,
        acr: command.acr,
        device: command.device ?? current.device,
        lastUsedAt: Math.max(current.lastUsedAt, now),
        labels: command.labels ?? current.labels,
        ...present({ mfaAt: command.mfaAt ?? mfaAt, risk: command.clearRisk ? undefined : risk }),
      };
      await this.#update(tx, session, command.oldTokenDigest);
      await storeClaim(tx, request, now);
      tx.record(...command.events);
      return { outcome: 'rotated', session };
    });
  }

  setLabels(command: Parameters<SessionStore['setLabels']>[0]): ReturnType<SessionStore['setLabels']> {
    const { realm, sessionId, labels, now } = command;
    return this.#sql.unit(async (tx) => {
      const current = await this.#read(tx, realm, sessionId);
      if (!current || !livenessAt(current, now).alive) return { outcome: 'not_live' };
      const session = { ...current, labels };
      await this.#update(tx, session, current.tokenDigest);
      tx.record(...command.events);
      return { outcome: 'updated', session };
    });
  }

  noteRisk(command: NoteRisk): ReturnType<SessionStore['noteRisk']> {
    const { realm, sessionId, now } = command;
    return this.#sql.unit(async (tx) => {
      const current = await this.#read(tx, realm, sessionId);
      if (!current || !livenessAt(current, now).alive) return { outcome: 'not_live' };
      const before = current.risk ?? { stepUpRequired: false, changes: [] };
      const risk = {
        stepUpRequired: before.stepUpRequired || command.stepUpRequired,
        changes: [...new Set([...before.changes, ...command.changes])].slice(0, MAX_NOTED_CHANGES),
      };
      if (risk.changes.length === before.changes.length && risk.stepUpRequired === before.stepUpRequired) {
        return { outcome: 'known', session: current };
      }
      const session = { ...current, risk };
      await this.#update(tx, session, current.tokenDigest);
      tx.record(...command.events);
      return { outcome: 'noted', session };
    });
  }

  end(command: EndSessions): Promise<readonly Session[]> {
    const { target, reason, now } = command;
    return this.#sql.unit(async (tx) => {
      const ended: Session[] = [];
      for (const session of await this.#unended(tx, command.realm, target)) {
        if (!mayEnd(session, reason, now)) continue;
        const done = await this.#rows.end(tx, session, reason, now);
        if (!done) continue;
        ended.push(done);
        tx.record(eventOfSession(command.event, done));
      }
      return ended;
    });
  }

  due(now: EpochMs, limit: number): Promise<readonly Session[]> {
    return this.#sql.unit((tx) =>
      this.#rows.select(tx, 'ended_at IS NULL AND lapses_at <= $1 ORDER BY lapses_at, id LIMIT $2', now, limit),
    );
  }

  revocationsAfter(realm: string, position: number, limit: number): ReturnType<SessionStore['revocationsAfter']> {
    return this.#sql.unit((tx) => revocationsAfter(tx, realm, position, limit));
  }

  purge(before: EpochMs, limit: number): Promise<number> {
    return this.#sql.unit(async (tx) => {
      const sessions = await tx.run(
        `DELETE FROM sessions
         WHERE id IN (
           SELECT id FROM sessions WHERE ended_at IS NOT NULL AND ended_at < $1 ORDER BY ended_at LIMIT $2
         )`,
        before,
        limit,
      );
      return sessions + (await trimRevocations(tx, before, limit));
    });
  }

  /** Units run as if alone, so the guard holds for what was just read; undo everything if it did not. */
  async #update(tx: Tx, session: Session, tokenDigest: string): Promise<void> {
    if (!(await this.#rows.update(tx, session, tokenDigest))) throw new Error('a session changed within a unit');
  }

  async #read(tx: Tx, realm: string, sessionId: string): Promise<Session | undefined> {
    const [session] = await this.#rows.select(tx, 'id = $1 AND realm = $2', sessionId, realm);
    return session;
  }

  /** Newest first. */
  #live(tx: Tx, realm: string, subject: string, now: EpochMs): Promise<readonly Session[]> {
    return this.#rows.select(
      tx,
      `realm = $1 AND subject = $2 AND ended_at IS NULL AND lapses_at > $3 ORDER BY created_at DESC, id DESC`,
      realm,
      subject,
      now,
    );
  }

  async #unended(tx: Tx, realm: string, target: EndSessions['target']): Promise<readonly Session[]> {
    if (target.kind === 'subject') {
      return await this.#rows.select(
        tx,
        'realm = $1 AND subject = $2 AND ended_at IS NULL AND id <> $3 ORDER BY created_at, id',
        realm,
        target.subject,
        target.exceptSessionId,
      );
    }
    const found: Session[] = [];
    for (const id of new Set(target.sessionIds)) {
      const session = await this.#read(tx, realm, id);
      const ofSubject = target.subject === undefined || session?.subject === target.subject;
      if (session && session.endedAt === undefined && ofSubject) found.push(session);
    }
    return found;
  }
}

/**
 * Whoever sweeps may end only what has lapsed and still has. Every other reason ends a session that merely looks idle as
 * well: a use that is noted late could bring it back to life after it was revoked.
 */
function mayEnd(session: Session, reason: EndSessions['reason'], now: EpochMs): boolean {
  return (reason !== 'EXPIRED' && reason !== 'IDLE') || !livenessAt(session, now).alive;
}

function byLeastRecentUse(a: Session, b: Session): number {
  return a.lastUsedAt - b.lastUsedAt || a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1);
}
