import { type Caller, type ClientContext, NO_CLIENT } from '#src/domain/caller.ts';
import { Fault, invalidFields } from '#src/domain/faults.ts';
import { isId, newId } from '#src/domain/ids.ts';
import { tokenDigest } from '#src/domain/opaque-token.ts';
import type { Session, SessionLimitPolicy } from '#src/domain/session.ts';
import { newSessionToken } from '#src/domain/session-token.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Clock, Random, SecretBox } from '#src/ports/runtime.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { ReceiptClaims } from '../contracts.ts';
import type { DeviceGrant, DeviceMemory } from '../devices/device-memory.ts';
import { type RequestClaims, requestIdReused } from '../request-claims.ts';
import { openAnswer, sealAnswer } from '../sealed-answer.ts';
import type { Trail } from '../trail.ts';
import type { SessionConnections } from './session-connection.ts';
import { endOutcome, type SessionEndings } from './session-endings.ts';
import type { ReceiptUse, SessionReceipts } from './session-receipts.ts';
import type { SessionUses } from './session-uses.ts';

export interface SessionLimits {
  /** Live sessions per person. */
  readonly cap: number;
  readonly policy: SessionLimitPolicy;
  /** From creation; never moves. */
  readonly absoluteMs: DurationMs;
  /** From the last use. */
  readonly idleMs: DurationMs;
}

export interface SessionCreationDependencies {
  readonly store: Pick<SessionStore, 'create' | 'read' | 'list'>;
  readonly receipts: SessionReceipts;
  readonly connections: SessionConnections;
  readonly endings: SessionEndings;
  readonly uses: SessionUses;
  readonly memory: DeviceMemory;
  readonly claims: RequestClaims;
  readonly secrets: SecretBox;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: SessionLimits;
}

export interface NewSession {
  readonly realm: string;
  readonly subject: string;
  /** undefined when the caller gave none. */
  readonly client: ClientContext | undefined;
  /** '' without MFA. */
  readonly receipt: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly endSessionIds: readonly string[];
  /** The person chose to have the device remembered. */
  readonly rememberDevice: boolean;
  /** '' for one made of browser and system. */
  readonly deviceName: string;
  readonly requestId: string;
}

export type CreatedSession =
  | {
      readonly outcome: 'created';
      readonly session: Session;
      readonly token: string;
      readonly evicted: readonly Session[];
      /** Absent when nothing was remembered. */
      readonly trusted?: DeviceGrant;
    }
  /** With the policy `ask`. */
  | { readonly outcome: 'choose'; readonly candidates: readonly Session[] };

/** Starts sessions: under the cap at every instant, with ids and tokens made only here. */
export class SessionCreation {
  readonly #deps: SessionCreationDependencies;

  constructor(deps: SessionCreationDependencies) {
    this.#deps = deps;
  }

  /**
   * Throws Fault(precondition, SESSION_LIMIT) with the policy `reject`; Fault(invalid) for an id to end that is not a
   * live session of the person; the faults of SessionReceipts for a receipt that is not good for a login.
   */
  async create(command: NewSession, caller: Caller): Promise<CreatedSession> {
    const { clock, connections, limits, memory, random, receipts, store, trail, uses } = this.#deps;
    const { realm, subject } = command;
    if (!command.endSessionIds.every((id) => isId('session', id))) throw unknownSession();
    const use: ReceiptUse = { realm, subject, sessionId: undefined, purposes: ['login'] };
    const proof = command.receipt === '' ? undefined : await receipts.check(command.receipt, use, caller);
    const device = await connections.device(command.client ?? NO_CLIENT);
    await uses.flushOf(realm, subject);
    const now = clock.now();
    const token = newSessionToken(random.bytes(32));
    const session: Session = {
      id: newId('session', random.bytes(16)),
      realm,
      subject,
      tokenDigest: tokenDigest(token),
      device,
      ...levelOf(proof),
      createdAt: now,
      lastUsedAt: now,
      expiresAt: now + limits.absoluteMs,
      idleMs: limits.idleMs,
      labels: command.labels,
    };
    const about = { realm, subject, ipAddress: device.ipAddress, userAgent: device.userAgent };
    const remembered = memory.at({
      caller,
      realm,
      subject,
      client: command.client ?? NO_CLIENT,
      device,
      proof,
      remember: command.rememberDevice,
      name: command.deviceName,
      now,
    });
    const trusted = remembered.grant;
    const request = this.#claim(command, caller, trusted ? [session.id, token, trusted] : [session.id, token]);
    const result = await store.create({
      session,
      cap: limits.cap,
      policy: limits.policy,
      endSessionIds: command.endSessionIds,
      ...(proof ? { receipt: { receiptId: proof.receiptId, expiresAt: proof.expiresAt } } : {}),
      ...(remembered.command ? { devices: remembered.command } : {}),
      now,
      ...(request ? { request } : {}),
      events: [
        trail.draft('session.created', caller, {
          ...about,
          sessionId: session.id,
          outcome: 'SUCCESS',
          facts: { acr: session.acr, amr: session.amr.join(' ') },
        }),
      ],
      evictionEvent: trail.draft('session.ended', caller, {
        realm,
        subject,
        outcome: endOutcome('EVICTED'),
        reason: 'EVICTED',
        facts: { for: session.id },
      }),
    });
    switch (result.outcome) {
      case 'created':
        this.#deps.endings.announce(result.evicted);
        return { outcome: 'created', session, token, evicted: result.evicted, ...(trusted ? { trusted } : {}) };
      case 'limit':
        return this.#limited(command, caller, result.candidates);
      case 'receipt_spent':
        throw receipts.spent(use, caller);
      case 'unknown_session':
        throw this.#refuse(command, caller, unknownSession());
      case 'repeat':
        return this.#repeat(command, result.seed);
      case 'reused':
        throw this.#refuse(command, caller, requestIdReused());
    }
  }

  #claim(command: NewSession, caller: Caller, answer: StoredAnswer) {
    const { realm, subject, client, receipt, labels, endSessionIds, requestId } = command;
    if (requestId === '') return undefined;
    return this.#deps.claims.claim({
      realm,
      method: 'CreateSession',
      caller,
      requestId,
      fields: [
        subject,
        receipt,
        JSON.stringify([client?.ipAddress, client?.userAgent, client?.deviceId]),
        JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))),
        JSON.stringify(endSessionIds),
      ],
      added: [command.rememberDevice ? 'remember' : '', command.deviceName],
      seed: sealAnswer(this.#deps.secrets, { realm, subject, requestId }, answer),
    });
  }

  #limited(command: NewSession, caller: Caller, candidates: readonly Session[]): CreatedSession {
    const { limits } = this.#deps;
    const description = `has ${limits.cap} live sessions, the most there may be`;
    const fault = new Fault('precondition', 'SESSION_LIMIT', 'the session cap is reached; end another session first', {
      metadata: { cap: String(limits.cap) },
      preconditions: [{ type: 'SESSION_LIMIT', subject: 'subject', description }],
    });
    this.#refuse(command, caller, fault);
    if (limits.policy === 'ask') return { outcome: 'choose', candidates };
    throw fault;
  }

  #refuse({ realm, subject }: NewSession, caller: Caller, fault: Fault): Fault {
    const { trail } = this.#deps;
    trail.refused(trail.draft('session.refused', caller, { realm, subject, outcome: 'REFUSED', reason: fault.reason }));
    return fault;
  }

  /** The first answer again, as far as it still stands: what was evicted then carries the instant of the creation. */
  async #repeat(command: NewSession, seed: Uint8Array): Promise<CreatedSession> {
    const { clock, secrets, store } = this.#deps;
    const { realm, subject, requestId } = command;
    const [sessionId, token, trusted] = openAnswer(secrets, { realm, subject, requestId }, seed) as StoredAnswer;
    const session = await store.read(realm, sessionId);
    if (!session) throw new Fault('not-found', 'SESSION_NOT_FOUND', 'the session of this request id is gone');
    const page = { realm, subject, includeEnded: true, limit: 200, now: clock.now() };
    const evicted = (await store.list(page)).filter(
      (other) => other.endReason === 'EVICTED' && other.endedAt === session.createdAt,
    );
    return { outcome: 'created', session, token, evicted, ...(trusted ? { trusted } : {}) };
  }
}

/** What a repeat needs to answer the same. */
type StoredAnswer = readonly [sessionId: string, token: string, trusted?: DeviceGrant];

/** What was really proven (RFC 8176, NIST SP 800-63B): an approval without a proof is the level of a password. */
function levelOf(proof: ReceiptClaims | undefined): Pick<Session, 'amr' | 'acr' | 'mfaAt'> {
  if (proof?.method === undefined) return { amr: [], acr: 'aal1' };
  return { amr: proof.amr, acr: proof.acr, mfaAt: proof.approvedAt };
}

function unknownSession(): Fault {
  return invalidFields([
    { field: 'end_session_ids', description: 'names something that is not a live session of the person' },
  ]);
}
