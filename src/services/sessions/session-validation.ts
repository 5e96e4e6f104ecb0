import type { Sensitivity } from '#src/domain/action.ts';
import type { Caller, ClientContext } from '#src/domain/caller.ts';
import { tokenDigest } from '#src/domain/opaque-token.ts';
import { livenessAt, type Session } from '#src/domain/session.ts';
import { isSessionToken } from '#src/domain/session-token.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { Metrics } from '#src/ports/telemetry.ts';
import type { OutageGate, SessionAuthority } from '../contracts.ts';
import type { Trail } from '../trail.ts';
import type { CachedSession, SessionCache, ValidSession } from './session-cache.ts';
import type { SessionEndings } from './session-endings.ts';
import type { SessionRiskWatch } from './session-risk.ts';
import type { SessionUses } from './session-uses.ts';

export interface SessionValidationDependencies {
  readonly store: Pick<SessionStore, 'findByTokenDigest'>;
  readonly cache: SessionCache;
  readonly uses: SessionUses;
  readonly risk: SessionRiskWatch;
  readonly endings: SessionEndings;
  readonly outages: OutageGate;
  readonly trail: Trail;
  readonly metrics: Metrics;
  readonly clock: Clock;
}

/** Says whether a token is good: the hot path. A warm call is synchronous and touches no disk. */
export class SessionValidation implements SessionAuthority {
  readonly #deps: SessionValidationDependencies;

  constructor(deps: SessionValidationDependencies) {
    this.#deps = deps;
  }

  /**
   * undefined for a token that is unknown, malformed, expired, idle or revoked; callers cannot tell which. Synchronous
   * when the session is in memory and its connection is the one of the last call, or absent, which means not checked.
   * Throws Fault(unavailable, STORE_UNAVAILABLE) in an outage that use of this sensitivity does not go on in.
   */
  validate(
    realm: string,
    token: string,
    client: ClientContext | undefined,
    caller: Caller,
    sensitivity: Sensitivity = 'normal',
  ): ValidSession | undefined | Promise<ValidSession | undefined> {
    const { outages } = this.#deps;
    if (outages.degraded !== '' && isSessionToken(token)) outages.admit('validate_session', sensitivity);
    const answer = this.check(realm, token, client, caller);
    return answer instanceof Promise ? this.#admitted(answer, sensitivity) : answer;
  }

  /** As `validate`, for callers that go on to what decides for itself whether it can be done in an outage. */
  check(
    realm: string,
    token: string,
    client: ClientContext | undefined,
    caller: Caller,
  ): ValidSession | undefined | Promise<ValidSession | undefined> {
    const { cache, clock, metrics, risk, uses } = this.#deps;
    if (!isSessionToken(token)) {
      metrics.validation('invalid', 'cache');
      return undefined;
    }
    const digest = tokenDigest(token);
    const now = clock.now();
    const entry = cache.get(realm, digest, now);
    if (entry === undefined) return this.#validateStored(realm, digest, client, caller);
    const answer = risk.check(entry, client, now, caller);
    if (answer instanceof Promise) return this.#settle(entry, answer, now, 'cache');
    uses.note(entry, now);
    metrics.validation('valid', 'cache');
    return answer;
  }

  /** The session of a good token, without a look at the connection. Counts as a use. */
  async authenticate(realm: string, token: string): Promise<Session | undefined> {
    const { cache, clock, uses } = this.#deps;
    if (!isSessionToken(token)) return undefined;
    const digest = tokenDigest(token);
    const entry = cache.get(realm, digest, clock.now()) ?? (await this.#load(realm, digest, undefined));
    if (entry) uses.note(entry, clock.now());
    return entry?.session;
  }

  /** The session of a token, ended ones too; for signing out, which changes nothing the second time. */
  async find(realm: string, token: string): Promise<Session | undefined> {
    return isSessionToken(token) ? this.#deps.store.findByTokenDigest(realm, tokenDigest(token)) : undefined;
  }

  /** An outage may have begun while the store was asked. */
  async #admitted(pending: Promise<ValidSession | undefined>, sensitivity: Sensitivity) {
    const answer = await pending;
    const { outages } = this.#deps;
    if (answer && outages.degraded !== '') outages.admit('validate_session', sensitivity);
    return answer;
  }

  async #validateStored(
    realm: string,
    digest: string,
    client: ClientContext | undefined,
    caller: Caller,
  ): Promise<ValidSession | undefined> {
    const { clock, metrics, risk } = this.#deps;
    const entry = await this.#load(realm, digest, caller);
    if (!entry) {
      metrics.validation('invalid', 'store');
      return undefined;
    }
    const now = clock.now();
    return this.#settle(entry, risk.check(entry, client, now, caller), now, 'store');
  }

  async #settle(
    entry: CachedSession,
    pending: ValidSession | Promise<ValidSession | undefined>,
    now: EpochMs,
    source: 'cache' | 'store',
  ): Promise<ValidSession | undefined> {
    const { metrics, uses } = this.#deps;
    const answer = await pending;
    if (answer) uses.note(entry, now);
    metrics.validation(answer ? 'valid' : 'invalid', source);
    return answer;
  }

  /**
   * Reads a live session. One whose time is up is ended before it is refused, so that a clock that goes back cannot
   * revive it. A dead token of a known session is audited (folded) if there is a caller to name; an unknown one is not,
   * or anybody could fill the trail.
   */
  async #load(realm: string, digest: string, caller: Caller | undefined): Promise<CachedSession | undefined> {
    const { cache, clock, endings, store, trail, uses } = this.#deps;
    const fence = cache.fence();
    const latest = uses.latest();
    const session = await store.findByTokenDigest(realm, digest);
    if (!session) return undefined;
    const lastUsedAt = latest(session);
    const liveness = livenessAt(session, clock.now(), lastUsedAt);
    if (liveness.alive) return cache.put(session, lastUsedAt, fence);
    if (session.endReason === undefined) {
      await endings.end(realm, { kind: 'ids', sessionIds: [session.id] }, liveness.reason, undefined);
    }
    if (caller) {
      trail.refused(
        trail.draft('session.rejected', caller, {
          realm,
          subject: session.subject,
          sessionId: session.id,
          outcome: 'REFUSED',
          reason: 'SESSION_INVALID',
          facts: { end: liveness.reason },
        }),
      );
    }
    return undefined;
  }
}
