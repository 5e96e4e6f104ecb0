import type { Caller, ClientContext } from '#src/domain/caller.ts';
import { type Connection, type Finding, findSignals, type RiskReactions, reactionTo } from '#src/domain/risk.ts';
import { MAX_NOTED_CHANGES, type Session } from '#src/domain/session.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { Sighting } from '#src/domain/travel.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { Metrics } from '#src/ports/telemetry.ts';
import type { Trail } from '../trail.ts';
import { type CachedSession, type CheckedConnection, plainAnswer, type ValidSession } from './session-cache.ts';
import type { SessionConnections } from './session-connection.ts';
import type { SessionEndings } from './session-endings.ts';
import type { SessionUses } from './session-uses.ts';

export interface SessionRiskDependencies {
  readonly store: Pick<SessionStore, 'noteRisk'>;
  readonly connections: SessionConnections;
  readonly endings: SessionEndings;
  readonly uses: SessionUses;
  readonly trail: Trail;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly reactions: RiskReactions;
}

/** Watches sessions for signs of a stolen token (OWASP ASVS 5.0, 8.2.4). */
export class SessionRiskWatch {
  readonly #deps: SessionRiskDependencies;

  constructor(deps: SessionRiskDependencies) {
    this.#deps = deps;
  }

  /**
   * The answer for this connection; undefined when its signals, by the settings, have ended the session. A connection
   * like the last one answers at once, with the same object. Each change is audited once per session, before the
   * answer; the store failing refuses the answer.
   */
  check(
    entry: CachedSession,
    client: ClientContext | undefined,
    now: EpochMs,
    caller: Caller,
  ): ValidSession | Promise<ValidSession | undefined> {
    if (client === undefined) return entry.plain;
    const { checked } = entry;
    if (
      checked !== undefined &&
      checked.client.ipAddress === client.ipAddress &&
      checked.client.userAgent === client.userAgent &&
      checked.client.deviceId === client.deviceId
    ) {
      checked.at = now;
      return checked.answer;
    }
    return this.#assess(entry, client, now, caller);
  }

  async #assess(
    entry: CachedSession,
    client: ClientContext,
    now: EpochMs,
    caller: Caller,
  ): Promise<ValidSession | undefined> {
    const { reactions } = this.#deps;
    const connection = await this.#deps.connections.describe(client);
    const lastSeen = latestSighting(entry);
    const findings = findSignals(entry.session.device, lastSeen, connection, now).filter(
      ({ signal }) => reactions[signal] !== 'ignore',
    );
    const reaction = reactionTo(findings, reactions);
    if (!(await this.#note(entry, findings, connection, reaction, caller))) return undefined;
    if (reaction === 'end') {
      const target = { kind: 'ids', sessionIds: [entry.session.id] } as const;
      await this.#deps.endings.end(entry.session.realm, target, 'HIJACK', caller, {
        signals: findings.map(({ signal }) => signal).join(' '),
      });
      return undefined;
    }
    const isReachable = !findings.some(({ signal }) => signal === 'IMPOSSIBLE_TRAVEL');
    const isAtLastSeen = isReachable && connection.location !== undefined;
    entry.lastSeen = isAtLastSeen && connection.location ? { location: connection.location, at: now } : lastSeen;
    const answer: ValidSession = {
      session: entry.session,
      signals: findings.map(({ signal }) => signal),
      stepUpRequired: entry.session.risk?.stepUpRequired ?? false,
    };
    const checked: CheckedConnection = { client, answer, isAtLastSeen, at: now };
    entry.checked = checked;
    return answer;
  }

  /** Notes and audits what is new. False when the session has ended meanwhile. */
  async #note(
    entry: CachedSession,
    findings: readonly Finding[],
    connection: Connection,
    reaction: string,
    caller: Caller,
  ): Promise<boolean> {
    const { store, trail, metrics, clock, uses } = this.#deps;
    const { session } = entry;
    const known = session.risk?.changes ?? [];
    const room = Math.max(0, MAX_NOTED_CHANGES - known.length);
    const fresh = findings.filter(({ change }) => !known.includes(change)).slice(0, room);
    const raises = reaction === 'step_up' && session.risk?.stepUpRequired !== true;
    if (fresh.length === 0 && !raises) return true;
    await uses.flushOf(session.realm, session.subject);
    const noted = await store.noteRisk({
      realm: session.realm,
      sessionId: session.id,
      changes: fresh.map(({ change }) => change),
      stepUpRequired: reaction === 'step_up',
      now: clock.now(),
      events: [
        trail.draft('session.risk_detected', caller, {
          realm: session.realm,
          subject: session.subject,
          sessionId: session.id,
          outcome: reaction === 'end' ? 'REFUSED' : 'INFO',
          ipAddress: connection.ipAddress,
          userAgent: connection.userAgent,
          facts: { signals: findings.map(({ signal }) => signal).join(' '), reaction, ...placeOf(connection) },
        }),
      ],
    });
    if (noted.outcome === 'not_live') return false;
    if (noted.outcome === 'noted') for (const { signal } of fresh) metrics.riskSignal(signal);
    adopt(entry, noted.session);
    return true;
  }
}

/** Where the person was last, at the time of the last call from there. */
function latestSighting(entry: CachedSession): Sighting | undefined {
  if (!entry.lastSeen || !entry.checked?.isAtLastSeen) return entry.lastSeen;
  return { location: entry.lastSeen.location, at: entry.checked.at };
}

function adopt(entry: CachedSession, stored: Session): void {
  entry.session = { ...stored, lastUsedAt: Math.max(stored.lastUsedAt, entry.session.lastUsedAt) };
  entry.plain = plainAnswer(entry.session);
}

function placeOf(connection: Connection): Readonly<Record<string, string>> {
  return connection.location ? { country: connection.location.countryCode } : {};
}
