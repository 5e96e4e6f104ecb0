import { livenessAt, MAX_NOTED_CHANGES, type Session, type SessionChange } from '#src/domain/session.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { SecretBox } from '#src/ports/runtime.ts';
import type {
  CreateSession,
  DevicesWithSession,
  EndSessions,
  NoteRisk,
  RotateSession,
  SessionPage,
  SessionStore,
} from '#src/ports/session-store.ts';
import { inBatches, valuesOf } from './batches.ts';
import { eventOfSession } from './derived-events.ts';
import { readerOf, type SqlExecutor, type Tx, UnitConflict } from './executor.ts';
import { burnReceipt } from './receipt-burns.ts';
import { repeatOf, storeClaim } from './request-claims.ts';
import { present, text } from './row.ts';
import { appendChanges, changesAfter, revocationsAfter, trimChanges } from './session-change-log.ts';
import { SessionRows } from './session-rows.ts';
import { revokeDevices, trustDevice } from './trusted-device-rows.ts';

/** Nobody's name: purges of several sidecars come one after the other, as they are after the same rows. */
const PURGE = ['', 'purge of sessions'] as const;

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
      await tx.alone(session.realm, session.subject);
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
      const ids = going.map(({ id }) => id);
      const evicted = await this.#rows.end(tx, { realm: session.realm, ids, reason: 'EVICTED', now });
      for (const old of evicted) tx.record({ ...eventOfSession(command.evictionEvent, old), reason: 'EVICTED' });
      await this.#rows.insert(tx, session);
      await storeClaim(tx, request, now);
      tx.record(...command.events);
      if (command.devices) await trustOrForget(tx, session, command.devices, now);
      await appendChanges(tx, session.realm, evicted.map(endOf));
      return { outcome: 'created', evicted };
    });
  }

  async findByTokenDigest(realm: string, tokenDigest: string): Promise<Session | undefined> {
    const where = 'realm = $1 AND token_digest = $2';
    const [session] = await this.#rows.select(readerOf(this.#sql), where, realm, tokenDigest);
    return session;
  }

  read(realm: string, sessionId: string): Promise<Session | undefined> {
    return this.#read(readerOf(this.#sql), realm, sessionId);
  }

  list(page: SessionPage): Promise<readonly Session[]> {
    const { realm, subject, limit, now } = page;
    const live = page.includeEnded ? '' : 'AND ended_at IS NULL AND lapses_at > $6';
    const after = page.after ?? { createdAt: Number.MAX_SAFE_INTEGER, id: '' };
    return this.#rows.select(
      readerOf(this.#sql),
      // An id is never '', so without `after` every row is older.
      `realm = $1 AND subject = $2 AND (created_at < $3 OR (created_at = $3 AND id < $4)) ${live}
       ORDER BY created_at DESC, id DESC LIMIT $5`,
      realm,
      subject,
      after.createdAt,
      after.id,
      limit,
      ...(page.includeEnded ? [] : [now]),
    );
  }

  touch(uses: Parameters<SessionStore['touch']>[0]): Promise<void> {
    const rows = latestUses(uses);
    return this.#sql.unit(async (tx) => {
      for (const batch of inBatches(rows)) {
        await tx.run(
          // Where nothing is compared with a column, PostgreSQL has to be told the types.
          `WITH uses (id, realm, used_at) AS (
             SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS BIGINT) WHERE FALSE
             UNION ALL VALUES ${valuesOf(batch.length, 3)}
           )
           UPDATE sessions SET last_used_at = uses.used_at FROM uses
           WHERE sessions.id = uses.id AND sessions.realm = uses.realm
             AND sessions.ended_at IS NULL AND sessions.last_used_at < uses.used_at`,
          ...batch.flatMap(({ sessionId, realm, lastUsedAt }) => [sessionId, realm, lastUsedAt]),
        );
      }
    });
  }

  rotate(command: RotateSession): ReturnType<SessionStore['rotate']> {
    const { realm, sessionId, now, request } = command;
    return this.#sql.unit(async (tx) => {
      await this.#aloneWithOwner(tx, realm, sessionId);
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
      await appendChanges(tx, realm, [changeOf(session, now)]);
      return { outcome: 'rotated', session };
    });
  }

  setLabels(command: Parameters<SessionStore['setLabels']>[0]): ReturnType<SessionStore['setLabels']> {
    const { realm, sessionId, labels, now } = command;
    return this.#sql.unit(async (tx) => {
      await this.#aloneWithOwner(tx, realm, sessionId);
      const current = await this.#read(tx, realm, sessionId);
      if (!current || !livenessAt(current, now).alive) return { outcome: 'not_live' };
      const session = { ...current, labels };
      await this.#update(tx, session, current.tokenDigest);
      tx.record(...command.events);
      await appendChanges(tx, realm, [changeOf(session, now)]);
      return { outcome: 'updated', session };
    });
  }

  noteRisk(command: NoteRisk): ReturnType<SessionStore['noteRisk']> {
    const { realm, sessionId, now } = command;
    return this.#sql.unit(async (tx) => {
      const before = noting(await this.#read(tx, realm, sessionId), command);
      // What is known stays known until the person proves themselves, so this needs to be alone with nobody.
      if (before.outcome !== 'noted') return before;
      await tx.alone(realm, before.session.subject);
      const noted = noting(await this.#read(tx, realm, sessionId), command);
      if (noted.outcome !== 'noted') return noted;
      await this.#update(tx, noted.session, noted.session.tokenDigest);
      tx.record(...command.events);
      await appendChanges(tx, realm, [changeOf(noted.session, now)]);
      return noted;
    });
  }

  end(command: EndSessions): Promise<readonly Session[]> {
    const { realm, target, reason, now } = command;
    // Whoever sweeps may end only what has lapsed and still has. Every other reason ends a session that merely looks idle
    // as well: a use that is noted late could bring it back to life after it was revoked.
    const lapsed = reason === 'EXPIRED' || reason === 'IDLE';
    return this.#sql.unit(async (tx) => {
      const ids = target.kind === 'ids' ? target.sessionIds : await this.#unended(tx, realm, target);
      const ended = await this.#rows.end(tx, { realm, ids, reason, now, lapsed, subject: target.subject });
      for (const session of ended) tx.record(eventOfSession(command.event, session));
      await appendChanges(tx, realm, ended.map(endOf));
      return ended;
    });
  }

  due(now: EpochMs, limit: number): Promise<readonly Session[]> {
    // Long, and nobody waits for it: not among the quick reads.
    return this.#sql.unit((tx) =>
      this.#rows.select(tx, 'ended_at IS NULL AND lapses_at <= $1 ORDER BY lapses_at, id LIMIT $2', now, limit),
    );
  }

  revocationsAfter(realm: string, position: number, limit: number): ReturnType<SessionStore['revocationsAfter']> {
    return revocationsAfter(readerOf(this.#sql), realm, position, limit);
  }

  changesAfter(realm: string, position: number, limit: number): ReturnType<SessionStore['changesAfter']> {
    return changesAfter(readerOf(this.#sql), realm, position, limit);
  }

  purge(before: EpochMs, limit: number): Promise<number> {
    return this.#sql.unit(async (tx) => {
      await tx.alone(...PURGE);
      const sessions = await tx.run(
        `DELETE FROM sessions
         WHERE id IN (
           SELECT id FROM sessions WHERE ended_at IS NOT NULL AND ended_at < $1 ORDER BY ended_at LIMIT $2
         )`,
        before,
        limit,
      );
      return sessions + (await trimChanges(tx, before, limit));
    });
  }

  async #update(tx: Tx, session: Session, tokenDigest: string): Promise<void> {
    // Ends by id are not alone with the person.
    if (!(await this.#rows.update(tx, session, tokenDigest))) throw new UnitConflict('a session changed within a unit');
  }

  async #aloneWithOwner(tx: Tx, realm: string, sessionId: string): Promise<void> {
    const subject = await this.#rows.subjectOf(tx, realm, sessionId);
    if (subject !== undefined) await tx.alone(realm, subject);
  }

  async #read(reader: Pick<Tx, 'all'>, realm: string, sessionId: string): Promise<Session | undefined> {
    const [session] = await this.#rows.select(reader, 'id = $1 AND realm = $2', sessionId, realm);
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

  /** Oldest first. */
  async #unended(
    tx: Tx,
    realm: string,
    { subject, exceptSessionId }: Extract<EndSessions['target'], { kind: 'subject' }>,
  ): Promise<readonly string[]> {
    await tx.alone(realm, subject);
    const rows = await tx.all(
      `SELECT id FROM sessions
       WHERE realm = $1 AND subject = $2 AND ended_at IS NULL AND id <> $3 ORDER BY created_at, id`,
      realm,
      subject,
      exceptSessionId,
    );
    return rows.map((row) => text(row, 'id'));
  }
}

/** What becomes of the devices of the person whose session it is. */
async function trustOrForget(
  tx: Tx,
  { realm, subject }: Session,
  devices: DevicesWithSession,
  now: EpochMs,
): Promise<void> {
  if (devices.kind === 'trust') {
    await trustDevice(tx, devices.device, devices.maxDevices, now);
    tx.record(...devices.events);
    return;
  }
  const revoked = await revokeDevices(tx, { realm, subject, deviceId: '', reason: 'FACTOR_CHANGE', now });
  if (revoked > 0) tx.record(...devices.events);
}

/** What noting the risk makes of the session. */
function noting(current: Session | undefined, { changes, stepUpRequired, now }: NoteRisk): Noting {
  if (!current || !livenessAt(current, now).alive) return { outcome: 'not_live' };
  const before = current.risk ?? { stepUpRequired: false, changes: [] };
  const risk = {
    stepUpRequired: before.stepUpRequired || stepUpRequired,
    changes: [...new Set([...before.changes, ...changes])].slice(0, MAX_NOTED_CHANGES),
  };
  const known = risk.changes.length === before.changes.length && risk.stepUpRequired === before.stepUpRequired;
  return known ? { outcome: 'known', session: current } : { outcome: 'noted', session: { ...current, risk } };
}

type Noting = Awaited<ReturnType<SessionStore['noteRisk']>>;

/** One per session, in the order of their ids: two batches with the same sessions do not wait for one another. */
function latestUses(uses: Parameters<SessionStore['touch']>[0]): Parameters<SessionStore['touch']>[0] {
  const latest = new Map<string, (typeof uses)[number]>();
  for (const use of uses) {
    const known = latest.get(use.sessionId);
    if (!known || known.lastUsedAt < use.lastUsedAt) latest.set(use.sessionId, use);
  }
  return [...latest.values()].toSorted((a, b) => (a.sessionId < b.sessionId ? -1 : 1));
}

function changeOf({ id, subject }: Session, at: EpochMs): Omit<SessionChange, 'position' | 'realm'> {
  return { sessionId: id, subject, at };
}

function endOf(session: Session): Omit<SessionChange, 'position' | 'realm'> {
  return { ...changeOf(session, session.endedAt ?? 0), ...present({ endReason: session.endReason }) };
}

function byLeastRecentUse(a: Session, b: Session): number {
  return a.lastUsedAt - b.lastUsedAt || a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1);
}
