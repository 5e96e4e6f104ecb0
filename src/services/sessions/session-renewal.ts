import type { Caller, ClientContext } from '#src/domain/caller.ts';
import { tokenDigest } from '#src/domain/opaque-token.ts';
import type { Session } from '#src/domain/session.ts';
import { isSessionToken, newSessionToken } from '#src/domain/session-token.ts';
import type { RequestClaim } from '#src/ports/intents.ts';
import type { Clock, Random, SecretBox } from '#src/ports/runtime.ts';
import type { RotateSession, SessionStore } from '#src/ports/session-store.ts';
import type { ReceiptClaims } from '../contracts.ts';
import { type RequestClaims, requestIdReused } from '../request-claims.ts';
import { openAnswer, sealAnswer } from '../sealed-answer.ts';
import type { Trail } from '../trail.ts';
import type { SessionCache } from './session-cache.ts';
import type { SessionConnections } from './session-connection.ts';
import type { ReceiptUse, SessionReceipts } from './session-receipts.ts';
import type { SessionUses } from './session-uses.ts';
import type { SessionValidation } from './session-validation.ts';

export interface SessionRenewalDependencies {
  readonly store: Pick<SessionStore, 'rotate' | 'setLabels' | 'read'>;
  readonly validation: SessionValidation;
  readonly cache: SessionCache;
  readonly uses: SessionUses;
  readonly receipts: SessionReceipts;
  readonly connections: SessionConnections;
  readonly claims: RequestClaims;
  readonly secrets: SecretBox;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly random: Random;
}

export interface SessionChange {
  readonly realm: string;
  readonly token: string;
  /** '' for a change of labels alone. */
  readonly receipt: string;
  /** undefined leaves them. */
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly client: ClientContext | undefined;
  readonly requestId: string;
}

export interface ChangedSession {
  readonly session: Session;
  /** The new token; '' if it was not rotated. */
  readonly token: string;
}

/** Changes sessions: labels, and the level, which always comes with a new token (OWASP ASVS 5.0, 7.2.4). */
export class SessionRenewal {
  readonly #deps: SessionRenewalDependencies;

  constructor(deps: SessionRenewalDependencies) {
    this.#deps = deps;
  }

  /**
   * undefined when the token is not good. With a receipt the old token is dead before this resolves.
   * Throws the faults of SessionReceipts.
   */
  update(change: SessionChange, caller: Caller): Promise<ChangedSession | undefined> {
    return change.receipt === '' ? this.#relabel(change, caller) : this.#rotate(change, caller);
  }

  async #relabel(change: SessionChange, caller: Caller): Promise<ChangedSession | undefined> {
    const { cache, clock, store, trail, uses, validation } = this.#deps;
    const valid = await validation.check(change.realm, change.token, change.client, caller);
    if (!valid) return undefined;
    const { session } = valid;
    if (change.labels === undefined) return { session, token: '' };
    await uses.flushOf(session.realm, session.subject);
    try {
      const result = await store.setLabels({
        realm: session.realm,
        sessionId: session.id,
        labels: change.labels,
        now: clock.now(),
        events: [
          trail.draft('session.updated', caller, {
            ...about(session),
            outcome: 'SUCCESS',
            facts: { changed: 'labels' },
          }),
        ],
      });
      return result.outcome === 'updated' ? { session: result.session, token: '' } : undefined;
    } finally {
      cache.drop(session.id);
    }
  }

  async #rotate(change: SessionChange, caller: Caller): Promise<ChangedSession | undefined> {
    const { cache, clock, connections, random, receipts, store, uses, validation } = this.#deps;
    const session = await validation.authenticate(change.realm, change.token);
    const token = newSessionToken(random.bytes(32));
    const request = this.#claim(change, caller, token);
    if (!session) return this.#replay(change, request, caller);
    const use: ReceiptUse = {
      realm: session.realm,
      subject: session.subject,
      sessionId: session.id,
      purposes: ['step_up', 'action'],
    };
    const proof = await receipts.check(change.receipt, use, caller);
    const level = raised(session, proof);
    const command: RotateSession = {
      realm: session.realm,
      sessionId: session.id,
      oldTokenDigest: tokenDigest(change.token),
      newTokenDigest: tokenDigest(token),
      ...level,
      ...(level.clearRisk && change.client ? { device: await connections.device(change.client) } : {}),
      receipt: { receiptId: proof.receiptId, expiresAt: proof.expiresAt },
      ...(change.labels ? { labels: change.labels } : {}),
      now: clock.now(),
      ...(request ? { request } : {}),
      events: [this.#event(session, proof, level.acr, caller)],
    };
    await uses.flushOf(session.realm, session.subject);
    try {
      const result = await store.rotate(command);
      switch (result.outcome) {
        case 'rotated':
          return { session: result.session, token };
        case 'receipt_spent':
          throw receipts.spent(use, caller);
        case 'not_live':
          return undefined;
        case 'repeat':
          return await this.#answerAgain(change, result.seed);
        case 'reused':
          throw this.#reused(about(session), caller);
      }
    } finally {
      cache.drop(session.id);
    }
  }

  /**
   * The token is dead, perhaps because this very request has rotated it before: then the first answer comes again. The
   * command names no session and so can have no effect of its own.
   */
  async #replay(
    change: SessionChange,
    request: RequestClaim | undefined,
    caller: Caller,
  ): Promise<ChangedSession | undefined> {
    const { clock, store } = this.#deps;
    if (!request || !isSessionToken(change.token)) return undefined;
    const now = clock.now();
    const result = await store.rotate({
      realm: change.realm,
      sessionId: '',
      oldTokenDigest: tokenDigest(change.token),
      newTokenDigest: '',
      amr: [],
      acr: '',
      clearRisk: false,
      receipt: { receiptId: '', expiresAt: now },
      now,
      request,
      events: [],
    });
    if (result.outcome === 'reused') throw this.#reused({ realm: change.realm }, caller);
    return result.outcome === 'repeat' ? this.#answerAgain(change, result.seed) : undefined;
  }

  async #answerAgain(change: SessionChange, seed: Uint8Array): Promise<ChangedSession | undefined> {
    const { secrets, validation } = this.#deps;
    const [token = ''] = openAnswer(secrets, ownerOf(change), seed) as readonly string[];
    const session = await validation.find(change.realm, token);
    return session && { session, token };
  }

  #claim(change: SessionChange, caller: Caller, token: string): RequestClaim | undefined {
    if (change.requestId === '') return undefined;
    const { client, labels } = change;
    return this.#deps.claims.claim({
      realm: change.realm,
      method: 'UpdateSession',
      caller,
      requestId: change.requestId,
      fields: [
        change.token,
        change.receipt,
        JSON.stringify(labels && Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))) ?? '',
        JSON.stringify([client?.ipAddress, client?.userAgent, client?.deviceId]),
      ],
      seed: sealAnswer(this.#deps.secrets, ownerOf(change), [token]),
    });
  }

  #reused(whose: { readonly realm: string; readonly subject?: string; readonly sessionId?: string }, caller: Caller) {
    const { trail } = this.#deps;
    const fault = requestIdReused();
    trail.refused(trail.draft('session.refused', caller, { ...whose, outcome: 'REFUSED', reason: fault.reason }));
    return fault;
  }

  #event(session: Session, proof: ReceiptClaims, acr: string, caller: Caller) {
    return this.#deps.trail.draft('session.stepped_up', caller, {
      ...about(session),
      outcome: 'SUCCESS',
      challengeId: proof.challengeId,
      actionDigest: proof.actionDigest,
      facts: { acr, approval: proof.approvalReason, method: proof.method ?? 'none' },
    });
  }
}

function about(session: Session) {
  return { realm: session.realm, subject: session.subject, sessionId: session.id };
}

/** A repeat may come with a token whose session is not known any more, so the person is no part of it. */
function ownerOf(change: SessionChange) {
  return { realm: change.realm, subject: tokenDigest(change.token), requestId: change.requestId };
}

/**
 * The level after the proof. An approval without a proof raises nothing; it lifts a demanded step-up only where MFA is
 * switched off, since nobody could do one there.
 */
function raised(session: Session, proof: ReceiptClaims): Pick<RotateSession, 'amr' | 'acr' | 'mfaAt' | 'clearRisk'> {
  if (proof.method === undefined) {
    return { amr: session.amr, acr: session.acr, clearRisk: proof.approvalReason === 'MFA_DISABLED' };
  }
  return {
    amr: [...new Set([...session.amr, ...proof.amr])],
    acr: [session.acr, proof.acr].sort().at(-1) ?? session.acr,
    mfaAt: Math.max(session.mfaAt ?? 0, proof.approvedAt),
    clearRisk: true,
  };
}
