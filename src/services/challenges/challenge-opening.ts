import type { EventDraft } from '#src/domain/audit-event.ts';
import type { Caller } from '#src/domain/caller.ts';
import type { Challenge, MethodOffer } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { type Budget, isLocked, isStopped } from '#src/domain/failure-budget.ts';
import { Fault, invalidFields } from '#src/domain/faults.ts';
import { isGuessable, type Method, methodsOfAmr } from '#src/domain/method.ts';
import { isHeld, isUsable, offersFor } from '#src/domain/method-offer.ts';
import type { Policy, PolicyDecision, PolicyRequest } from '#src/domain/policy.ts';
import type { Session } from '#src/domain/session.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { RequestClaim } from '#src/ports/intents.ts';
import type { Clock, Random, SecretBox } from '#src/ports/runtime.ts';
import type { OutageGate, SessionAuthority, TrustedDeviceAuthority } from '../contracts.ts';
import type { RequestClaims } from '../request-claims.ts';
import type { Trail } from '../trail.ts';
import { type Asked, connectionOf, decisionFacts, personOf, type ToProve } from './asked.ts';
import { ChallengeDrafts } from './challenge-drafts.ts';
import { type ChallengeEndings, eventFields } from './challenge-endings.ts';
import { addedFields, fingerprintFields, type OpenCommand } from './open-command.ts';
import { OpeningRefusals } from './opening-refusals.ts';
import { TrustedLogins } from './trusted-logins.ts';

export interface ChallengeOpeningOptions {
  readonly policy: Policy;
  /** domain/policy-decision.ts */
  readonly decide: (policy: Policy, request: PolicyRequest) => PolicyDecision;
  /** Open challenges of one person at once. */
  readonly maxOpen: number;
  readonly receiptLifeMs: DurationMs;
}

export interface ChallengeOpeningDependencies extends ChallengeOpeningOptions {
  readonly challenges: Pick<ChallengeStore, 'open' | 'read' | 'repeatOf'>;
  readonly factors: Pick<FactorStore, 'list'>;
  readonly attempts: Pick<AttemptStore, 'read'>;
  readonly sessions: SessionAuthority;
  readonly devices: TrustedDeviceAuthority;
  readonly endings: ChallengeEndings;
  readonly claims: RequestClaims;
  readonly outages: OutageGate;
  readonly trail: Trail;
  readonly box: SecretBox;
  readonly clock: Clock;
  readonly random: Random;
  /** Told of every challenge that was opened, so that it ends in time. */
  readonly opened: (challenge: Challenge) => void;
}

export interface Opening {
  readonly challenge: Challenge;
  /** To be kept by the device in place of the one that was shown; '' for none. */
  readonly trustedDeviceToken: string;
}

/** Opens challenges, or approves at once where the policy asks for no proof. */
export class ChallengeOpening {
  readonly #deps: ChallengeOpeningDependencies;
  readonly #drafts: ChallengeDrafts;
  readonly #refusals: OpeningRefusals;
  readonly #trusted: TrustedLogins;

  constructor(deps: ChallengeOpeningDependencies) {
    this.#deps = deps;
    this.#drafts = new ChallengeDrafts(deps);
    this.#refusals = new OpeningRefusals(deps.trail);
    this.#trusted = new TrustedLogins(deps);
  }

  /**
   * The new challenge, PENDING or already APPROVED; for a repeated request the first one, as it stands now.
   *
   * Faults: unauthenticated SESSION_INVALID, denied NOT_OWNER (session of somebody else) and POLICY_DENIED,
   * precondition MFA_NOT_ENROLLED and METHOD_NOT_OFFERED, limited SUBJECT_LOCKED and LIMIT_EXCEEDED,
   * invalid FIELD_INVALID and REQUEST_ID_REUSED, unavailable STORE_UNAVAILABLE.
   */
  async open(caller: Caller, command: OpenCommand): Promise<Opening> {
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
      enrolled: methodsOf(usable),
      held: methodsOf(held.filter(isHeld)),
      now,
      ...(command.sensitivity === undefined ? {} : { sensitivity: command.sensitivity }),
      ...(session?.mfaAt === undefined ? {} : { mfaAt: session.mfaAt, mfaBy: methodsOfAmr(session.amr) }),
    });
    if (outages.degraded !== '') outages.admit('open_challenge', decision.sensitivity);
    const asked = { caller, command, subject, session, now };
    switch (decision.verdict) {
      case 'deny':
        throw this.#refusals.policyDenies({ ...asked, decision });
      case 'allow':
        return this.#allow({ ...asked, decision });
      case 'challenge':
        return this.#ask({ ...asked, decision }, usable, budget);
    }
  }

  async #allow(asked: Asked<Extract<PolicyDecision, { verdict: 'allow' }>>): Promise<Opening> {
    const { decision, session } = asked;
    if (decision.reason === 'NOT_REQUIRED' && decision.needsSession && !session) {
      throw this.#refusals.needsSession(asked);
    }
    return this.#store(asked, this.#drafts.approved(asked, decision.reason));
  }

  async #ask(asked: ToProve, usable: readonly Factor[], budget: Budget): Promise<Opening> {
    // Before it is said what the person has: somebody whose factors are frozen is not to be taken for somebody new.
    if (isStopped(budget)) throw this.#refusals.locked(asked, undefined, []);
    const trusted = await this.#byDevice(asked);
    if (trusted) return trusted;
    const offers = this.#withoutLocked(asked, this.#offers(asked, usable), budget);
    return this.#store(asked, this.#drafts.pending(asked, offers));
  }

  /** A repeat is found before the device is asked, whose token was used up by the first request. */
  async #byDevice(asked: ToProve): Promise<Opening | undefined> {
    const { challenges } = this.#deps;
    const { command, decision, now } = asked;
    if (command.trustedDeviceToken === '') return undefined;
    const request = this.#claim(asked, '');
    const repeat = request && (await challenges.repeatOf(request, now));
    if (repeat?.outcome === 'repeat') return this.#first(asked, repeat.seed);
    if (repeat) throw this.#refusals.reused(asked, this.#drafts.approved(asked, 'TRUSTED_DEVICE'));
    if (!decision.trustedDevice || decision.methods.length === 0) {
      this.#deviceRefused(asked);
      return undefined;
    }
    const nextToken = await this.#trusted.use(asked);
    if (nextToken === undefined) return undefined;
    return this.#store(asked, this.#drafts.approved(asked, 'TRUSTED_DEVICE'), nextToken);
  }

  /** Whoever is locked is offered what nobody can guess. */
  #withoutLocked(asked: ToProve, offers: readonly MethodOffer[], budget: Budget): readonly MethodOffer[] {
    const { command, now } = asked;
    if (!isLocked(budget, now)) return offers;
    const left = offers.filter(({ method }) => !isGuessable(method));
    const chosen = command.method;
    if (left.length > 0 && (chosen === undefined || left.some(({ method }) => method === chosen))) return left;
    const open = [...new Set(left.map(({ method }) => method))];
    throw this.#refusals.locked(asked, budget.hardLocked ? undefined : budget.lockedUntil - now, open);
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

  #offers(asked: ToProve, usable: readonly Factor[]): readonly MethodOffer[] {
    const offering = offersFor(asked.decision, usable, asked.command.methods, asked.command.method);
    switch (offering.outcome) {
      case 'offered':
        return offering.offers;
      case 'not_offered':
        throw this.#refusals.notOffered(asked, offering.method);
      case 'not_enrolled':
        throw this.#refusals.notEnrolled(asked, offering.wouldDo);
    }
  }

  async #store(asked: Asked, challenge: Challenge, trustedDeviceToken = ''): Promise<Opening> {
    const { challenges, endings, maxOpen } = this.#deps;
    const request = this.#claim(asked, this.#trusted.seedOf(asked, challenge, trustedDeviceToken));
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
        return { challenge, trustedDeviceToken };
      case 'repeat':
        return this.#first(asked, opened.seed);
      case 'reused':
        throw this.#refusals.reused(asked, challenge);
      case 'too_many':
        throw this.#refusals.tooMany(asked, challenge, maxOpen);
    }
  }

  #claim({ caller, command }: Asked, seed: string): RequestClaim | undefined {
    return this.#deps.claims.claim({
      realm: command.realm,
      method: 'OpenChallenge',
      caller,
      requestId: command.requestId,
      fields: fingerprintFields(command),
      added: addedFields(command),
      seed,
    });
  }

  async #first(asked: Asked, seed: Uint8Array): Promise<Opening> {
    const { challengeId, trustedDeviceToken } = this.#trusted.firstOf(asked, seed);
    const challenge = await this.#deps.challenges.read(asked.command.realm, challengeId);
    if (challenge) return { challenge, trustedDeviceToken };
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

  /** The policy asks for a proof whatever the device: its token is not looked at, and stays as it is. */
  #deviceRefused(asked: ToProve): void {
    const { trail } = this.#deps;
    const { caller, command, subject, session } = asked;
    trail.refused(
      trail.draft('device.refused', caller, {
        realm: command.realm,
        outcome: 'REFUSED',
        reason: 'POLICY',
        facts: decisionFacts(asked),
        ...personOf(subject, session, command.client),
      }),
    );
  }
}

function methodsOf(factors: readonly Factor[]): readonly Method[] {
  return [...new Set(factors.map(({ method }) => method))];
}
