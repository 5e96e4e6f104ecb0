import { createHash } from 'node:crypto';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { newId } from '#src/domain/ids.ts';
import {
  type EndReason,
  livenessAt,
  MAX_NOTED_CHANGES,
  type Revocation,
  type Session,
  type SessionChange,
  type SessionRisk,
} from '#src/domain/session.ts';
import type { Repeat, RequestClaim } from '#src/ports/intents.ts';
import type {
  CreateSession,
  DevicesWithSession,
  EndSessions,
  NoteRisk,
  RotateSession,
  SessionPage,
  SessionStore,
} from '#src/ports/session-store.ts';

/**
 * The session store's contract in memory. Each intent waits a turn first, as a real store does, and then takes effect
 * at once. `events` is what was recorded; `calls` counts; `hold` keeps reads waiting after they have read.
 */
export class MemorySessionStore implements SessionStore {
  readonly sessions = new Map<string, Session>();
  readonly events: EventDraft[] = [];
  /** What was to become of devices, with the sessions that were created. */
  readonly devices: DevicesWithSession[] = [];
  readonly calls = new Map<keyof SessionStore, number>();
  /** Thrown by every intent while set. */
  failure: Error | undefined;
  /** When set, findByTokenDigest answers only after it resolves; what it read is from before. */
  hold: Promise<void> | undefined;
  readonly #claims = new Map<string, RequestClaim>();
  readonly #spent = new Set<string>();
  readonly #logs = new Map<string, { entries: SessionChange[]; head: number; trimmed: number }>();

  async create(command: CreateSession): ReturnType<SessionStore['create']> {
    await this.#turn('create');
    const { session, request, now } = command;
    const repeat = this.#repeat(request);
    if (repeat) return repeat;
    const live = [...this.sessions.values()]
      .filter((other) => other.subject === session.subject && other.realm === session.realm)
      .filter((other) => livenessAt(other, now).alive)
      .sort(newestFirst);
    const chosen = live.filter(({ id }) => command.endSessionIds.includes(id));
    if (chosen.length < command.endSessionIds.length) return { outcome: 'unknown_session' };
    const staying = live.filter((other) => !chosen.includes(other)).sort((a, b) => a.lastUsedAt - b.lastUsedAt);
    const surplus = Math.max(0, staying.length + 1 - command.cap);
    if (surplus > 0 && command.policy !== 'evict_oldest') return { outcome: 'limit', candidates: live };
    if (!this.#burn(command.receipt?.receiptId)) return { outcome: 'receipt_spent' };
    const going = [...chosen, ...staying.slice(0, surplus)];
    const evicted = going.map((old) => this.#end(old, 'EVICTED', now, { ...command.evictionEvent, reason: 'EVICTED' }));
    this.sessions.set(session.id, session);
    this.#claim(request);
    this.events.push(...command.events);
    if (command.devices) this.devices.push(command.devices);
    if (command.devices?.kind === 'trust') this.events.push(...command.devices.events);
    return { outcome: 'created', evicted };
  }

  async findByTokenDigest(realm: string, tokenDigest: string): Promise<Session | undefined> {
    await this.#turn('findByTokenDigest');
    const found = [...this.sessions.values()].find((each) => each.realm === realm && each.tokenDigest === tokenDigest);
    await this.hold;
    return found;
  }

  async read(realm: string, sessionId: string): Promise<Session | undefined> {
    await this.#turn('read');
    return this.#read(realm, sessionId);
  }

  async list(page: SessionPage): Promise<readonly Session[]> {
    await this.#turn('list');
    const { after } = page;
    return [...this.sessions.values()]
      .filter((each) => each.realm === page.realm && each.subject === page.subject)
      .filter((each) => page.includeEnded || livenessAt(each, page.now).alive)
      .filter((each) => !after || (each.id !== after.id && newestFirst(after, each) < 0))
      .sort(newestFirst)
      .slice(0, page.limit);
  }

  async touch(uses: Parameters<SessionStore['touch']>[0]): Promise<void> {
    await this.#turn('touch');
    for (const { realm, sessionId, lastUsedAt } of uses) {
      const session = this.#read(realm, sessionId);
      if (!session || session.endReason || session.lastUsedAt >= lastUsedAt) continue;
      this.sessions.set(sessionId, { ...session, lastUsedAt });
    }
  }

  async rotate(command: RotateSession): ReturnType<SessionStore['rotate']> {
    await this.#turn('rotate');
    const repeat = this.#repeat(command.request);
    if (repeat) return repeat;
    const current = this.#read(command.realm, command.sessionId);
    if (!current || !livenessAt(current, command.now).alive || current.tokenDigest !== command.oldTokenDigest) {
      return { outcome: 'not_live' };
    }
    if (!this.#burn(command.receipt.receiptId)) return { outcome: 'receipt_spent' };
    const { risk, ...rest } = current;
    const session: Session = {
      ...rest,
      tokenDigest: command.newTokenDigest,
      amr: command.amr,
      acr: command.acr,
      device: command.device ?? current.device,
      labels: command.labels ?? current.labels,
      lastUsedAt: Math.max(current.lastUsedAt, command.now),
      ...(command.mfaAt === undefined ? {} : { mfaAt: command.mfaAt }),
      ...(risk && !command.clearRisk ? { risk } : {}),
    };
    this.#change(session, command.now);
    this.#claim(command.request);
    this.events.push(...command.events);
    return { outcome: 'rotated', session };
  }

  async setLabels(command: Parameters<SessionStore['setLabels']>[0]): ReturnType<SessionStore['setLabels']> {
    await this.#turn('setLabels');
    const current = this.#read(command.realm, command.sessionId);
    if (!current || !livenessAt(current, command.now).alive) return { outcome: 'not_live' };
    const session = { ...current, labels: command.labels };
    this.#change(session, command.now);
    this.events.push(...command.events);
    return { outcome: 'updated', session };
  }

  async noteRisk(command: NoteRisk): ReturnType<SessionStore['noteRisk']> {
    await this.#turn('noteRisk');
    const current = this.#read(command.realm, command.sessionId);
    if (!current || !livenessAt(current, command.now).alive) return { outcome: 'not_live' };
    const before: SessionRisk = current.risk ?? { stepUpRequired: false, changes: [] };
    const risk: SessionRisk = {
      stepUpRequired: before.stepUpRequired || command.stepUpRequired,
      changes: [...new Set([...before.changes, ...command.changes])].slice(0, MAX_NOTED_CHANGES),
    };
    const isNew = risk.changes.length > before.changes.length || risk.stepUpRequired !== before.stepUpRequired;
    if (!isNew) return { outcome: 'known', session: current };
    const session = { ...current, risk };
    this.#change(session, command.now);
    this.events.push(...command.events);
    return { outcome: 'noted', session };
  }

  async end(command: EndSessions): Promise<readonly Session[]> {
    await this.#turn('end');
    const { target, reason, now, realm } = command;
    const isMeant = (session: Session) =>
      target.kind === 'ids'
        ? target.sessionIds.includes(session.id) && (target.subject ?? session.subject) === session.subject
        : target.subject === session.subject && session.id !== target.exceptSessionId;
    return [...this.sessions.values()]
      .filter((session) => session.realm === realm && !session.endReason && isMeant(session))
      .filter((session) => (reason !== 'EXPIRED' && reason !== 'IDLE') || !livenessAt(session, now).alive)
      .map((session) => this.#end(session, reason, now, command.event));
  }

  async due(now: number, limit: number): Promise<readonly Session[]> {
    await this.#turn('due');
    return [...this.sessions.values()]
      .filter((session) => !session.endReason && !livenessAt(session, now).alive)
      .slice(0, limit);
  }

  async revocationsAfter(realm: string, position: number, limit: number): ReturnType<SessionStore['revocationsAfter']> {
    await this.#turn('revocationsAfter');
    const log = this.#logOf(realm);
    const entries = log.entries.flatMap(({ at, endReason, ...entry }): Revocation[] =>
      entry.position > position && endReason ? [{ ...entry, reason: endReason, endedAt: at }] : [],
    );
    return { entries: entries.slice(0, limit), oldest: log.trimmed + 1, head: log.head };
  }

  async changesAfter(realm: string, position: number, limit: number): ReturnType<SessionStore['changesAfter']> {
    await this.#turn('changesAfter');
    const log = this.#logOf(realm);
    const entries = log.entries.filter((entry) => entry.position > position).slice(0, limit);
    return { entries, oldest: log.trimmed + 1, head: log.head };
  }

  async purge(before: number): Promise<number> {
    await this.#turn('purge');
    let purged = 0;
    for (const log of this.#logs.values()) {
      const kept = log.entries.findIndex((entry) => entry.at >= before);
      const gone = log.entries.splice(0, kept === -1 ? log.entries.length : kept);
      log.trimmed = gone.at(-1)?.position ?? log.trimmed;
      purged += gone.length;
    }
    for (const { id, endedAt } of [...this.sessions.values()]) {
      if (endedAt !== undefined && endedAt < before && this.sessions.delete(id)) purged += 1;
    }
    return purged;
  }

  /** As if a receipt had been redeemed elsewhere. */
  spend(receiptId: string): void {
    this.#spent.add(receiptId);
  }

  count(call: keyof SessionStore): number {
    return this.calls.get(call) ?? 0;
  }

  /** Everything there is at rest, as text; to search it for what must not be there. */
  dump(): string {
    const claims = [...this.#claims.values()].map(({ seed, ...claim }) => [claim, Buffer.from(seed).toString('utf8')]);
    return JSON.stringify([[...this.sessions.values()], claims, [...this.#logs], this.events]);
  }

  async #turn(call: keyof SessionStore): Promise<void> {
    this.calls.set(call, this.count(call) + 1);
    await Promise.resolve();
    if (this.failure) throw this.failure;
  }

  #read(realm: string, sessionId: string): Session | undefined {
    const session = this.sessions.get(sessionId);
    return session?.realm === realm ? session : undefined;
  }

  #end(session: Session, endReason: EndReason, endedAt: number, event: EventDraft): Session {
    const ended = { ...session, endReason, endedAt };
    const { id, subject } = session;
    this.#change(ended, endedAt);
    const derived = createHash('sha256').update(`${event.id}\n${id}`).digest().subarray(0, 16);
    this.events.push({ ...event, id: newId('event', derived), subject, sessionId: id });
    return ended;
  }

  #change(session: Session, at: number): void {
    const { id, realm, subject, endReason } = session;
    this.sessions.set(id, session);
    const log = this.#logOf(realm);
    log.head += 1;
    log.entries.push({
      position: log.head,
      realm,
      sessionId: id,
      subject,
      ...(endReason === undefined ? {} : { endReason }),
      at,
    });
  }

  #logOf(realm: string) {
    const log = this.#logs.get(realm) ?? { entries: [], head: 0, trimmed: 0 };
    this.#logs.set(realm, log);
    return log;
  }

  #burn(receiptId: string | undefined): boolean {
    if (receiptId === undefined) return true;
    if (this.#spent.has(receiptId)) return false;
    this.#spent.add(receiptId);
    return true;
  }

  #repeat(request: RequestClaim | undefined): Repeat | undefined {
    const known = request && this.#claims.get(request.key);
    if (!known) return undefined;
    return known.fingerprint === request.fingerprint ? { outcome: 'repeat', seed: known.seed } : { outcome: 'reused' };
  }

  #claim(request: RequestClaim | undefined): void {
    if (request) this.#claims.set(request.key, request);
  }
}

function newestFirst(
  a: { readonly createdAt: number; readonly id: string },
  b: { readonly createdAt: number; readonly id: string },
): number {
  return b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1);
}
