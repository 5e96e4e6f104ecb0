import { type Caller, mayKnow } from '#src/domain/caller.ts';
import { type Challenge, isTerminal, receiptExpiry } from '#src/domain/challenge.ts';
import { attemptsLeft, type BudgetLimits } from '#src/domain/failure-budget.ts';
import { Fault } from '#src/domain/faults.ts';
import { newId } from '#src/domain/ids.ts';
import { type DurationMs, isOver } from '#src/domain/time.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { RequestClaim } from '#src/ports/intents.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { Metrics } from '#src/ports/telemetry.ts';
import type { Lanes } from '../lanes.ts';
import { type RequestClaims, requestIdReused } from '../request-claims.ts';
import type { Trail } from '../trail.ts';
import { approvalEvents, lostRaceEvents } from './approval-events.ts';
import { type ChallengeAccess, type ChallengeRef, challengeEnded } from './challenge-access.ts';
import { type ChallengeEndings, eventFields, gone } from './challenge-endings.ts';
import type { Denials } from './denials.ts';
import { LockEvents, type Spent } from './lock-events.ts';
import { methodNotOffered } from './method-not-offered.ts';
import { type Proof, type ProofChecker, type ProofVerdict, proofFields } from './proof.ts';
import type { RepeatedAnswers } from './repeated-answers.ts';

export type Refusal = 'PROOF_WRONG' | 'PROOF_REPLAYED' | 'LOCKED';

export type AnswerOutcome =
  | { readonly outcome: 'finished'; readonly challenge: Challenge }
  /** `reason` only for callers that may know, and only they get a number above 0. */
  | { readonly outcome: 'refused'; readonly attemptsLeft: number; readonly reason?: Refusal };

export interface AnswerCommand extends ChallengeRef {
  readonly proof: Proof;
  readonly requestId: string;
}

/** The answer of an enrolled device, which its signature vouches for. */
export interface DeviceAnswer {
  readonly realm: string;
  readonly challengeId: string;
  readonly proof: Extract<Proof, { readonly kind: 'push' }>;
  readonly requestId: string;
}

export interface VerificationDependencies {
  readonly access: ChallengeAccess;
  readonly endings: ChallengeEndings;
  readonly challenges: Pick<ChallengeStore, 'approve' | 'read'>;
  readonly attempts: Pick<AttemptStore, 'spend' | 'read'>;
  readonly checker: ProofChecker;
  readonly denials: Denials;
  readonly claims: RequestClaims;
  readonly repeats: RepeatedAnswers<AnswerOutcome>;
  /** One person's answers are looked at one by one: a right proof sent many times must not lock its own challenge. */
  readonly lanes: Lanes;
  readonly trail: Trail;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly budget: BudgetLimits;
  readonly receiptLifeMs: DurationMs;
}

/** One answer on its way. */
interface Attempt {
  readonly caller: Caller;
  readonly challenge: Challenge;
  readonly proof: Proof;
  readonly request: RequestClaim | undefined;
}

/**
 * Verifies proofs. An attempt is spent before a guess is looked at, whatever it looks like, so no number of parallel calls
 * gets more guesses than the budget has (NIST SP 800-63B section 5.2.2). What cannot be guessed spends nothing and passes
 * a lock, so that nobody can be locked out of it by others.
 */
export class Verification {
  readonly #deps: VerificationDependencies;
  readonly #locks: LockEvents;

  constructor(deps: VerificationDependencies) {
    this.#deps = deps;
    this.#locks = new LockEvents(deps);
  }

  /**
   * Refused proofs are values. Faults: not-found CHALLENGE_NOT_FOUND, precondition CHALLENGE_ENDED and, for callers that
   * may know, METHOD_NOT_OFFERED; invalid REQUEST_ID_REUSED.
   */
  async answer(caller: Caller, command: AnswerCommand): Promise<AnswerOutcome> {
    return this.#answer(caller, command, await this.#deps.access.read(caller, command));
  }

  /**
   * As `answer`, from a device of the person's: it has neither the session nor the caller that the challenge is bound to.
   * Throws Fault(denied, NOT_OWNER) for every challenge that does not offer this device, there or not.
   */
  async answerAsDevice(caller: Caller, command: DeviceAnswer): Promise<AnswerOutcome> {
    return this.#answer(caller, command, await this.#deps.access.readAsDevice(caller, command, command.proof.factorId));
  }

  #answer(
    caller: Caller,
    command: Pick<AnswerCommand, 'proof' | 'requestId'>,
    challenge: Challenge,
  ): Promise<AnswerOutcome> {
    const request = this.#deps.claims.claim({
      realm: challenge.realm,
      method: 'AnswerChallenge',
      caller,
      requestId: command.requestId,
      fields: [challenge.id, ...proofFields(command.proof)],
      seed: challenge.id,
    });
    const attempt = { caller, challenge, proof: command.proof, request };
    const work = () => this.#inTurn(attempt);
    return request ? this.#deps.repeats.once(request, work, () => this.#reused(attempt)) : work();
  }

  #inTurn(attempt: Attempt): Promise<AnswerOutcome> {
    const { realm, subject, id } = attempt.challenge;
    const lane = `${realm}\n${subject}`;
    if (this.#deps.lanes.isFull(lane)) return Promise.reject(this.#tooMany(attempt));
    return this.#deps.lanes.run(lane, async (waited) => {
      const challenge = waited ? await this.#deps.challenges.read(realm, id) : attempt.challenge;
      if (!challenge) throw gone();
      return this.#attempt({ ...attempt, challenge });
    });
  }

  async #attempt(attempt: Attempt): Promise<AnswerOutcome> {
    const { attempts, budget, checker, clock } = this.#deps;
    const { caller, challenge, request } = attempt;
    const seesOpen = challenge.state === 'LOCKED' && !mayKnow(caller) && !isOver(challenge.expiresAt, clock.now());
    if (seesOpen) return this.#refusedAsLocked(attempt);
    // An ended challenge is looked into only for the sake of a repeat, whose first answer may be the approval.
    const mayBeRepeat = request !== undefined && isAnswered(challenge);
    if (isTerminal(challenge.state) && !mayBeRepeat) throw this.#ended(attempt, challenge);
    const guess = await checker.isGuess(challenge, attempt.proof, clock.now());
    const spent = await attempts.spend({
      realm: challenge.realm,
      subject: challenge.subject,
      limits: budget,
      now: clock.now(),
      ...(guess ? {} : { free: true }),
      ...(request ? { request } : {}),
    });
    switch (spent.outcome) {
      case 'reused':
        return this.#reused(attempt);
      case 'repeat':
        return this.#repeat(attempt, spent.approved);
      case 'locked':
        return this.#locked(attempt);
      case 'spent':
        if (isTerminal(challenge.state)) throw this.#ended(attempt, challenge);
        return this.#look(attempt, spent);
    }
  }

  async #look(attempt: Attempt, spent: Spent): Promise<AnswerOutcome> {
    const { checker, clock } = this.#deps;
    const { challenge, proof } = attempt;
    if (!isAnswerable(challenge, proof)) {
      await checker.imitate(proof);
      return this.#notOffered(attempt, spent);
    }
    const verdict = await checker.check(challenge, proof, clock.now());
    if (verdict.outcome === 'wrong') return this.#wrong(attempt, spent, 'PROOF_WRONG', verdict.refusal);
    if (verdict.outcome === 'replayed') return this.#wrong(attempt, spent, 'PROOF_REPLAYED');
    if (verdict.outcome === 'denied') return this.#denied(attempt, spent, verdict);
    return this.#approve(attempt, spent, verdict);
  }

  async #approve(
    attempt: Attempt,
    spent: Spent,
    verdict: Extract<ProofVerdict, { outcome: 'right' }>,
  ): Promise<AnswerOutcome> {
    const { challenges, clock, random, receiptLifeMs, endings, metrics, trail } = this.#deps;
    const { caller, challenge, request } = attempt;
    const now = clock.now();
    const approved = await challenges.approve({
      realm: challenge.realm,
      challengeId: challenge.id,
      proof: verdict.claim,
      method: verdict.method,
      receiptId: newId('receipt', random.bytes(16)),
      receiptExpiresAt: receiptExpiry(now, receiptLifeMs),
      now,
      events: approvalEvents(trail, caller, challenge, verdict),
      ...(request ? { requestKey: request.key } : {}),
    });
    switch (approved.outcome) {
      case 'approved':
        metrics.proof(verdict.method, 'accepted');
        endings.announce(approved.challenge);
        return { outcome: 'finished', challenge: approved.challenge };
      case 'replayed':
        for (const event of lostRaceEvents(trail, caller, challenge, verdict)) trail.refused(event);
        return this.#wrong(attempt, spent, 'PROOF_REPLAYED');
      case 'ended': {
        const lock = await this.#locks.eventOf(attempt.caller, attempt.challenge, spent);
        if (lock) this.#deps.trail.refused(lock);
        const ended = await endings.settled(approved.challenge);
        throw this.#ended(attempt, ended);
      }
      case 'missing':
        throw gone();
    }
  }

  async #denied(
    attempt: Attempt,
    spent: Spent,
    verdict: Extract<ProofVerdict, { outcome: 'denied' }>,
  ): Promise<AnswerOutcome> {
    const lock = await this.#locks.eventOf(attempt.caller, attempt.challenge, spent);
    const { challenge, ended } = await this.#deps.denials.deny(attempt, verdict, lock ? [lock] : []);
    if (!ended) throw this.#ended(attempt, challenge);
    return { outcome: 'finished', challenge };
  }

  /** The proof was looked at and did not hold. The attempt that used up the budget ends the challenge. */
  async #wrong(attempt: Attempt, spent: Spent, reason: Refusal, refusal?: string): Promise<AnswerOutcome> {
    const { metrics } = this.#deps;
    metrics.proof(attempt.proof.kind, reason === 'PROOF_REPLAYED' ? 'replayed' : 'wrong');
    const why = refusal === undefined ? {} : { refusal };
    this.#refusal(attempt, reason, { attempts_left: String(spent.attemptsLeft), ...why });
    const locked = await this.#lockIfSpent(attempt, spent);
    return (locked && this.#finishedLocked(attempt, locked)) ?? this.#refused(attempt, spent.attemptsLeft, reason);
  }

  async #notOffered(attempt: Attempt, spent: Spent): Promise<AnswerOutcome> {
    const { caller, challenge, proof } = attempt;
    this.#deps.metrics.proof(proof.kind, 'wrong');
    this.#refusal(attempt, 'METHOD_NOT_OFFERED', { attempts_left: String(spent.attemptsLeft) });
    const locked = await this.#lockIfSpent(attempt, spent);
    const finished = locked && this.#finishedLocked(attempt, locked);
    if (finished) return finished;
    if (mayKnow(caller)) throw methodNotOffered(challenge, proof.kind);
    return this.#refused(attempt, spent.attemptsLeft, 'PROOF_WRONG');
  }

  /** Ends the challenge if this attempt used up the budget and nothing has given it back since. */
  async #lockIfSpent({ challenge, caller }: Attempt, spent: Spent): Promise<Challenge | undefined> {
    const event = await this.#locks.eventOf(caller, challenge, spent);
    if (!event) return undefined;
    const ending = await this.#deps.endings.end(challenge, 'LOCKED', caller, { also: [event] });
    if (!ending.ended) this.#deps.trail.refused(event);
    return ending.challenge;
  }

  /** No attempt was left to spend: nothing is looked at. */
  async #locked(attempt: Attempt): Promise<AnswerOutcome> {
    if (isTerminal(attempt.challenge.state)) throw this.#ended(attempt, attempt.challenge);
    const { challenge } = await this.#deps.endings.end(attempt.challenge, 'LOCKED', attempt.caller);
    const refused = await this.#refusedAsLocked(attempt);
    return this.#finishedLocked(attempt, challenge) ?? refused;
  }

  async #refusedAsLocked(attempt: Attempt): Promise<AnswerOutcome> {
    const { checker, metrics } = this.#deps;
    await checker.imitate(attempt.proof);
    metrics.proof(attempt.proof.kind, 'locked');
    this.#refusal(attempt, 'LOCKED');
    return this.#refused(attempt, 0, 'LOCKED');
  }

  /** The answer to a repeat that is no longer remembered here: rebuilt from what the store knows. */
  async #repeat(attempt: Attempt, approved: boolean): Promise<AnswerOutcome> {
    const { attempts, budget: limits, challenges } = this.#deps;
    const { caller, proof } = attempt;
    const challenge = await challenges.read(attempt.challenge.realm, attempt.challenge.id);
    if (!challenge) throw gone();
    if (approved || challenge.state === 'DENIED') return { outcome: 'finished', challenge };
    if (!isAnswerable(challenge, proof) && mayKnow(caller)) throw methodNotOffered(challenge, proof.kind);
    const left = attemptsLeft(await attempts.read(challenge.realm, challenge.subject), limits, this.#deps.clock.now());
    return this.#finishedLocked(attempt, challenge) ?? this.#refused(attempt, left, 'PROOF_WRONG');
  }

  #finishedLocked({ caller }: Attempt, challenge: Challenge): AnswerOutcome | undefined {
    return challenge.state === 'LOCKED' && mayKnow(caller) ? { outcome: 'finished', challenge } : undefined;
  }

  #refused({ caller }: Attempt, attemptsLeft: number, reason: Refusal): AnswerOutcome {
    return mayKnow(caller) ? { outcome: 'refused', attemptsLeft, reason } : { outcome: 'refused', attemptsLeft: 0 };
  }

  #ended(attempt: Attempt, challenge: Challenge): Fault {
    this.#refusal(attempt, 'CHALLENGE_ENDED', { state: challenge.state });
    return challengeEnded(attempt.caller, challenge);
  }

  #tooMany({ caller, challenge }: Attempt): Fault {
    const { trail } = this.#deps;
    const facts = { limit: 'waiting_answers' };
    const fields = { ...eventFields(challenge), outcome: 'REFUSED', reason: 'LIMIT_EXCEEDED', facts } as const;
    trail.refused(trail.draft('limit.hit', caller, fields));
    return new Fault('limited', 'LIMIT_EXCEEDED', 'too many answers for one person at once; send them one by one', {
      quota: { subject: 'waiting_answers', description: 'bounds the answers of one person that wait' },
    });
  }

  #reused(attempt: Attempt): never {
    this.#refusal(attempt, 'REQUEST_ID_REUSED');
    throw requestIdReused();
  }

  #refusal({ caller, challenge, proof }: Attempt, reason: string, facts: Readonly<Record<string, string>> = {}): void {
    const { trail } = this.#deps;
    trail.refused(
      trail.draft('challenge.refused', caller, {
        ...eventFields(challenge),
        outcome: 'REFUSED',
        reason,
        method: proof.kind,
        facts,
      }),
    );
  }
}

/** Whether it ended by an answer, which may be the one that is repeated. */
function isAnswered({ state }: Challenge): boolean {
  return state === 'APPROVED' || state === 'DENIED';
}

/**
 * Whether the challenge offers the method. A push is approved only while it is the method that was chosen: one that the
 * person has turned away from is no live one any more, and another challenge may have taken its place. Denied it can
 * always be.
 */
function isAnswerable({ offers, chosenMethod }: Challenge, proof: Proof): boolean {
  if (!offers.some(({ method }) => method === proof.kind)) return false;
  return proof.kind !== 'push' || !proof.approve || chosenMethod === 'push';
}
