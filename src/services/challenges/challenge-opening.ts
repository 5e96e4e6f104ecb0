import { actionDigest } from '#src/domain/action.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import type { Caller, ClientContext } from '#src/domain/caller.ts';
import {
  type ApprovalReason,
  type Challenge,
  LONGEST_LIFE,
  type MethodOffer,
  receiptExpiry,
} from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { isLocked } from '#src/domain/failure-budget.ts';
import { Fault, type FaultDetails, invalidFields } from '#src/domain/faults.ts';
import { newId } from '#src/domain/ids.ts';
import { isGuessable, type Method } from '#src/domain/method.ts';
import { isUsable, offersFor } from '#src/domain/method-offer.ts';
import type { Policy, PolicyDecision, PolicyRequest } from '#src/domain/policy.ts';
import type { Session } from '#src/domain/session.ts';
import type { DurationMs, EpochMs } from '#src/domain/time.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { OutageGate, SessionAuthority } from '../contracts.ts';
import { type RequestClaims, requestIdReused } from '../request-claims.ts';
import type { EventFields, Trail } from '../trail.ts';
import { type ChallengeEndings, eventFields } from './challenge-endings.ts';
import { fingerprintFields, type OpenCommand } from './open-command.ts';

export interface ChallengeOpeningOptions {
  readonly policy: Policy;
  /** domain/policy-decision.ts */
  readonly decide: (policy: Policy, request: PolicyRequest) => PolicyDecision;
  /** Open challenges of one person at once. */
  readonly maxOpen: number;
  readonly receiptLifeMs: DurationMs;
}

export interface ChallengeOpeningDependencies extends ChallengeOpeningOptions {
  readonly challenges: Pick<ChallengeStore, 'open' | 'read'>;
  readonly factors: Pick<FactorStore, 'list'>;
  readonly attempts: Pick<AttemptStore, 'read'>;
  readonly sessions: SessionAuthority;
  readonly endings: ChallengeEndings;
  readonly claims: RequestClaims;
  readonly outages: OutageGate;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly random: Random;
  /** Told of every challenge that was opened, so that it ends in time. */
  readonly opened: (challenge: Challenge) => void;
}

/** Opens challenges, or approves at once where the policy asks for no proof. */
export class ChallengeOpening {
  readonly #deps: ChallengeOpeningDependencies;

  constructor(deps: ChallengeOpeningDependencies) {
    this.#deps = deps;
  }

  /**
   * The new challenge, PENDING or already APPROVED; for a repeated request the first one, as it stands now.
   *
   * Faults: unauthenticated SESSION_INVALID, denied NOT_OWNER (session of somebody else) and POLICY_DENIED,
   * precondition MFA_NOT_ENROLLED and METHOD_NOT_OFFERED, limited SUBJECT_LOCKED and LIMIT_EXCEEDED,
   * invalid FIELD_INVALID and REQUEST_ID_REUSED, unavailable STORE_UNAVAILABLE.
   */
  async open(caller: Caller, command: OpenCommand): Promise<Challenge> {
    const session = await this.#session(caller, command);
    const subject = session?.subject ?? command.subject;
    const { factors, attempts, clock, outages, policy, decide } = this.#deps;
    const [held, budget] = await Promise.all([
      factors.list(command.realm, subject, clock.now()),
      attempts.read(command.realm, subject),
    ]);
    const usable = held.filter(isUsable);
    const now = clock.now();
    const decision = decide(policy, {
      realm: command.realm,
      resource: command.action.resource,
      action: command.action.action,
      purpose: command.purpose,
      enrolled: [...new Set(usable.map((factor) => factor.method))],
      now,
      ...(command.sensitivity === undefined ? {} : { sensitivity: command.sensitivity }),
      ...(session?.mfaAt === undefined ? {} : { mfaAt: session.mfaAt }),
    });
    if (outages.degraded !== '') outages.admit('open_challenge', decision.sensitivity);
    const asked = { caller, command, subject, session, decision, now };
    if (decision.verdict === 'deny') {
      throw this.#refuse(asked, 'denied', 'POLICY_DENIED', 'the policy denies this action', {
        metadata: { rule: decision.rule },
      });
    }
    if (decision.verdict === 'allow' && decision.reason === 'NOT_REQUIRED' && decision.needsSession && !session) {
      throw this.#refuse(asked, 'unauthenticated', 'SESSION_INVALID', 'the policy asks for a session; give its token', {
        metadata: { rule: decision.rule },
      });
    }
    if (decision.verdict === 'allow') return this.#store(asked, this.#bypassed(asked, decision.reason));
    const offers = this.#offers(asked, decision, usable);
    if (isLocked(budget, now) && offers.every((offer) => isGuessable(offer.method))) {
      throw this.#locked(asked, budget.hardLocked ? undefined : budget.lockedUntil - now);
    }
    return this.#store(asked, this.#pending(asked, decision.ttlMs, offers));
  }

  async #session(caller: Caller, command: OpenCommand): Promise<Session | undefined> {
    const { sessions, trail } = this.#deps;
    if (command.sessionToken === '') {
      if (command.subject !== '') return undefined;
      throw invalidFields([{ field: 'subject', description: 'is required when there is no session_token' }]);
    }
    const session = await sessions.authenticate(command.realm, command.sessionToken);
    const agrees = session && (command.subject === '' || command.subject === session.subject);
    if (agrees) return session;
    const reason = session ? 'NOT_OWNER' : 'SESSION_INVALID';
    const subject = command.subject || session?.subject;
    trail.refused(
      trail.draft('request.refused', caller, {
        realm: command.realm,
        outcome: 'REFUSED',
        reason,
        ...personOf(subject, session, command.client),
      }),
    );
    if (session) throw new Fault('denied', reason, 'the session belongs to somebody else than `subject`');
    throw new Fault('unauthenticated', reason, 'the session token is not good');
  }

  #offers(
    asked: Asked,
    decision: Extract<PolicyDecision, { verdict: 'challenge' }>,
    usable: readonly Factor[],
  ): readonly MethodOffer[] {
    const offering = offersFor(decision, usable, asked.command.methods, asked.command.method);
    switch (offering.outcome) {
      case 'offered':
        return offering.offers;
      case 'not_offered':
        throw this.#notOffered(asked, offering.method);
      case 'not_enrolled':
        throw this.#refuse(asked, 'precondition', 'MFA_NOT_ENROLLED', 'no enrolled factor would do; enrol one first', {
          metadata: { rule: decision.rule, methods: offering.wouldDo.join(',') },
          preconditions: offering.wouldDo.map((name) => ({
            type: 'MFA_NOT_ENROLLED',
            subject: name,
            description: `a ${name} factor would do`,
          })),
        });
    }
  }

  #notOffered(asked: Asked, method: Method): Fault {
    const message = `${method} does not satisfy the policy here; choose one of the offered methods or name none`;
    return this.#refuse(asked, 'precondition', 'METHOD_NOT_OFFERED', message, {
      metadata: { method, rule: asked.decision.rule },
      preconditions: [{ type: 'METHOD_NOT_OFFERED', subject: method, description: 'is not offered' }],
    });
  }

  #locked(asked: Asked, retryAfterMs: DurationMs | undefined): Fault {
    const message =
      retryAfterMs === undefined
        ? 'the person is locked until an operator unlocks them'
        : 'the person is locked for a while';
    const details = retryAfterMs === undefined ? {} : { retryAfterMs };
    return this.#refuse(asked, 'limited', 'SUBJECT_LOCKED', message, details);
  }

  #refuse(
    asked: Asked,
    kind: 'denied' | 'precondition' | 'limited' | 'unauthenticated',
    reason: 'POLICY_DENIED' | 'SESSION_INVALID' | 'MFA_NOT_ENROLLED' | 'METHOD_NOT_OFFERED' | 'SUBJECT_LOCKED',
    message: string,
    details: FaultDetails,
  ): Fault {
    const { trail } = this.#deps;
    trail.refused(
      trail.draft('request.refused', asked.caller, {
        realm: asked.command.realm,
        outcome: 'REFUSED',
        reason,
        actionDigest: actionDigest(asked.command.realm, asked.subject, asked.command.action),
        facts: {
          ...decisionFacts(asked),
          ...(details.metadata?.['method'] ? { method: details.metadata['method'] } : {}),
        },
        ...personOf(asked.subject, asked.session, asked.command.client),
      }),
    );
    return new Fault(kind, reason, message, details);
  }

  #base(asked: Asked) {
    const { command, subject, session, decision, now, caller } = asked;
    return {
      id: newId('challenge', this.#deps.random.bytes(16)),
      realm: command.realm,
      subject,
      sessionId: session?.id ?? '',
      openedBy: caller.name,
      purpose: command.purpose,
      action: command.action,
      actionDigest: actionDigest(command.realm, subject, command.action),
      sensitivity: decision.sensitivity,
      audience: command.audience === '' ? command.realm : command.audience,
      policyRule: decision.rule,
      createdAt: now,
    };
  }

  #pending(asked: Asked, ttlMs: DurationMs, offers: readonly MethodOffer[]): Challenge {
    return {
      ...this.#base(asked),
      state: 'PENDING',
      offers,
      expiresAt: asked.now + Math.min(ttlMs, LONGEST_LIFE),
      ...(asked.command.method === undefined ? {} : { chosenMethod: asked.command.method }),
    };
  }

  #bypassed(asked: Asked, approvalReason: ApprovalReason): Challenge {
    const { random, receiptLifeMs } = this.#deps;
    return {
      ...this.#base(asked),
      state: 'APPROVED',
      approvalReason,
      offers: [],
      expiresAt: asked.now,
      settledAt: asked.now,
      receiptId: newId('receipt', random.bytes(16)),
      receiptExpiresAt: receiptExpiry(asked.now, receiptLifeMs),
    };
  }

  async #store(asked: Asked, challenge: Challenge): Promise<Challenge> {
    const { challenges, claims, endings, maxOpen } = this.#deps;
    const { caller, command } = asked;
    const request = claims.claim({
      realm: command.realm,
      method: 'OpenChallenge',
      caller,
      requestId: command.requestId,
      fields: fingerprintFields(command),
      seed: challenge.id,
    });
    const opened = await challenges.open({
      challenge,
      maxOpen,
      events: [this.#openedEvent(asked, challenge)],
      ...(request ? { request } : {}),
    });
    switch (opened.outcome) {
      case 'opened':
        if (challenge.state === 'APPROVED') endings.announce(challenge);
        else this.#deps.opened(challenge);
        return challenge;
      case 'repeat':
        return this.#first(command.realm, Buffer.from(opened.seed).toString('utf8'));
      case 'reused':
        this.#refusedToStore(asked, challenge, 'request.refused', 'REQUEST_ID_REUSED');
        throw requestIdReused();
      case 'too_many':
        this.#refusedToStore(asked, challenge, 'limit.hit', 'LIMIT_EXCEEDED');
        throw new Fault('limited', 'LIMIT_EXCEEDED', 'too many open challenges; finish or cancel one first', {
          quota: { subject: 'open_challenges', description: `at most ${maxOpen} open challenges per person` },
        });
    }
  }

  async #first(realm: string, challengeId: string): Promise<Challenge> {
    const challenge = await this.#deps.challenges.read(realm, challengeId);
    if (challenge) return challenge;
    throw new Fault(
      'not-found',
      'CHALLENGE_NOT_FOUND',
      'the challenge of this request id is gone; make a new request id',
    );
  }

  #openedEvent(asked: Asked, challenge: Challenge): EventDraft {
    const { client } = asked.command;
    const bypassed = challenge.state === 'APPROVED';
    return this.#deps.trail.draft(bypassed ? 'challenge.bypassed' : 'challenge.opened', asked.caller, {
      ...eventFields(challenge),
      outcome: bypassed ? 'SUCCESS' : 'INFO',
      facts: decisionFacts(asked),
      ...(challenge.approvalReason === undefined ? {} : { reason: challenge.approvalReason }),
      ...connectionOf(client),
    });
  }

  #refusedToStore(asked: Asked, challenge: Challenge, type: 'request.refused' | 'limit.hit', reason: string): void {
    const { trail } = this.#deps;
    const { challengeId: _neverStored, ...fields } = eventFields(challenge);
    trail.refused(
      trail.draft(type, asked.caller, {
        ...fields,
        outcome: 'REFUSED',
        reason,
        facts: { limit: 'open_challenges', ...decisionFacts(asked) },
      }),
    );
  }
}

/** One request on its way through the policy. */
interface Asked {
  readonly caller: Caller;
  readonly command: OpenCommand;
  readonly subject: string;
  readonly session: Session | undefined;
  readonly decision: PolicyDecision;
  readonly now: EpochMs;
}

function decisionFacts({ command, decision }: Asked): Readonly<Record<string, string>> {
  const { purpose, action } = command;
  return { purpose, action: action.action, sensitivity: decision.sensitivity, policy_rule: decision.rule };
}

function personOf(subject: string | undefined, session: Session | undefined, client: ClientContext) {
  return {
    ...(subject === undefined ? {} : { subject }),
    ...(session === undefined ? {} : { sessionId: session.id }),
    ...connectionOf(client),
  } satisfies Partial<EventFields>;
}

function connectionOf(client: ClientContext) {
  return {
    ...(client.ipAddress === '' ? {} : { ipAddress: client.ipAddress }),
    ...(client.userAgent === '' ? {} : { userAgent: client.userAgent }),
  } satisfies Partial<EventFields>;
}
