import { type Caller, mayKnow } from '#src/domain/caller.ts';
import { type Challenge, delivers, isTerminal, type MethodOffer, shownTo } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { isLocked } from '#src/domain/failure-budget.ts';
import { Fault } from '#src/domain/faults.ts';
import { newId } from '#src/domain/ids.ts';
import type { Method } from '#src/domain/method.ts';
import { isUsable } from '#src/domain/method-offer.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { Signals } from '#src/ports/signals.ts';
import type { ChallengeMethod, PromptView } from '../methods/contract.ts';
import type { MethodRegistry } from '../methods/registry.ts';
import { type RequestClaims, requestIdReused } from '../request-claims.ts';
import { subjectLocked } from '../subject-locked.ts';
import type { Trail } from '../trail.ts';
import { type ChallengeAccess, type ChallengeRef, challengeEnded } from './challenge-access.ts';
import { type ChallengeEndings, eventFields, gone } from './challenge-endings.ts';
import type { Deliveries } from './deliveries.ts';
import type { LivePush } from './live-push.ts';
import { methodNotOffered } from './method-not-offered.ts';
import { RepeatedAnswers } from './repeated-answers.ts';

/** Resends remembered by their request id in this process. */
const MAX_REMEMBERED = 256;

export interface ChoosingDependencies {
  readonly access: ChallengeAccess;
  readonly endings: ChallengeEndings;
  readonly challenges: Pick<ChallengeStore, 'advance' | 'read'>;
  readonly factors: Pick<FactorStore, 'read'>;
  readonly attempts: Pick<AttemptStore, 'read'>;
  readonly methods: MethodRegistry;
  readonly livePush: LivePush;
  readonly deliveries: Deliveries;
  readonly claims: RequestClaims;
  readonly signals: Signals;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly random: Random;
}

/** One wish to be shown or sent something. */
interface Wish {
  readonly caller: Caller;
  readonly challenge: Challenge;
  readonly offer: MethodOffer;
  readonly again: boolean;
}

/** Choosing a method, and what is shown or sent then. Only callers that a challenge is bound to get this far. */
export class Choosing {
  readonly #deps: ChoosingDependencies;
  readonly #resends = new RepeatedAnswers<PromptView>({ max: MAX_REMEMBERED });

  constructor(deps: ChoosingDependencies) {
    this.#deps = deps;
  }

  /**
   * Chooses the method in place of the one before; `factorId` '' takes the first of the method. Faults: not-found
   * CHALLENGE_NOT_FOUND; precondition METHOD_NOT_OFFERED, CHALLENGE_ENDED; limited LIMIT_EXCEEDED and, where a code
   * would be sent that nobody may use, SUBJECT_LOCKED; unavailable DELIVERY_FAILED.
   */
  async choose(caller: Caller, ref: ChallengeRef, method: Method | undefined, factorId: string): Promise<PromptView> {
    const challenge = await this.#open(caller, ref);
    const offer = challenge.offers.find(
      (candidate) => candidate.method === method && (factorId === '' || candidate.factorId === factorId),
    );
    if (!offer) throw this.#notOffered(caller, challenge, method);
    return this.#show({ caller, challenge, offer, again: false });
  }

  /**
   * Sends again what was sent last; for a repeated request nothing more, as far as this process remembers it. Faults as
   * for `choose`; METHOD_NOT_OFFERED where nothing is sent; invalid REQUEST_ID_REUSED.
   */
  async resend(caller: Caller, ref: ChallengeRef, requestId: string): Promise<PromptView> {
    const challenge = await this.#open(caller, ref);
    const request = this.#deps.claims.claim({
      realm: challenge.realm,
      method: 'AnswerChallenge',
      caller,
      requestId,
      fields: [challenge.id, 'resend'],
      seed: '',
    });
    const work = () => this.#again(caller, challenge);
    if (!request) return work();
    return this.#resends.once(request, work, () => {
      throw requestIdReused();
    });
  }

  async #again(caller: Caller, challenge: Challenge): Promise<PromptView> {
    const { chosenMethod, delivery } = challenge;
    const offers = challenge.offers.filter(({ method }) => method === chosenMethod);
    const offer = offers.find(({ factorId }) => factorId === delivery?.factorId) ?? offers[0];
    if (!offer) throw this.#notOffered(caller, challenge, chosenMethod);
    return this.#show({ caller, challenge, offer, again: true });
  }

  /**
   * For a challenge that was opened with a method: the method chosen since, or the one that was `wanted`. What cannot be
   * sent does not keep the challenge from being there: then it says so itself, and there is no prompt.
   */
  async begin(
    caller: Caller,
    challenge: Challenge,
    wanted: Method | undefined,
  ): Promise<{ readonly challenge: Challenge; readonly prompt?: PromptView }> {
    const method = challenge.chosenMethod ?? wanted;
    const offer = challenge.offers.find((candidate) => candidate.method === method);
    if (!offer || isTerminal(shownTo(challenge, mayKnow(caller), this.#deps.clock.now()).state)) return { challenge };
    try {
      const prompt = await this.#show({ caller, challenge, offer, again: false });
      return { challenge: await this.#afterSending(challenge, offer), prompt };
    } catch (error) {
      if (!(error instanceof Fault) || !isNotSent(error)) throw error;
      await this.#noteNotSent(challenge, offer, error);
      return { challenge: await this.#afterSending(challenge, offer) };
    }
  }

  async #open(caller: Caller, ref: ChallengeRef): Promise<Challenge> {
    const challenge = await this.#deps.access.read(caller, ref);
    const { state } = shownTo(challenge, mayKnow(caller), this.#deps.clock.now());
    if (isTerminal(state)) throw challengeEnded(caller, challenge);
    return challenge;
  }

  async #show(wish: Wish): Promise<PromptView> {
    const { caller, challenge, offer, again } = wish;
    const { factors, methods } = this.#deps;
    const method = methods.challenge(offer.method);
    const factor = await factors.read(challenge.realm, offer.factorId);
    // It may have gone or been frozen since the challenge was opened.
    const usable = factor?.subject === challenge.subject && factor.method === offer.method && isUsable(factor);
    if (!method || !usable) throw this.#notOffered(caller, challenge, offer.method);
    if (await this.#isLockedOut(wish)) return this.#pretended(method, challenge, factor);
    const chosen = await this.#note(wish);
    try {
      return await method.prompt(caller, chosen, factor, again);
    } catch (error) {
      if (error instanceof Fault && error.reason === 'METHOD_NOT_OFFERED') {
        this.#recordRefusal(caller, challenge, offer.method);
      }
      throw error;
    }
  }

  /** Nothing is sent that could not be used. Who may not know that the person is locked is shown what there would be. */
  async #isLockedOut({ caller, challenge, offer }: Wish): Promise<boolean> {
    if (challenge.state === 'LOCKED') return true;
    if (!delivers(offer.method)) return false;
    const { attempts, clock } = this.#deps;
    const budget = await attempts.read(challenge.realm, challenge.subject);
    if (!isLocked(budget, clock.now())) return false;
    if (!mayKnow(caller)) return true;
    this.#recordRefusal(caller, challenge, offer.method, 'SUBJECT_LOCKED');
    throw subjectLocked(budget.hardLocked ? undefined : budget.lockedUntil - clock.now());
  }

  async #pretended(method: ChallengeMethod, challenge: Challenge, factor: Factor): Promise<PromptView> {
    return (await method.pretend?.(challenge, factor)) ?? { method: method.method, factorId: factor.id };
  }

  /** Notes the chosen method, with its event. */
  async #note({ caller, challenge, offer }: Wish): Promise<Challenge> {
    const { challenges, endings, livePush, signals, trail, clock } = this.#deps;
    const { method, factorId } = offer;
    if (challenge.chosenMethod === method) return challenge;
    if (method === 'push') await livePush.makeRoom(caller, challenge);
    const advanced = await challenges.advance({
      realm: challenge.realm,
      challengeId: challenge.id,
      to: challenge.state,
      chosenMethod: method,
      now: clock.now(),
    });
    if (advanced.outcome === 'missing') throw gone();
    // Told before anything else is awaited: what comes of it meanwhile is told after it.
    if (advanced.outcome === 'advanced') signals.challengeChanged(advanced.challenge);
    const open = !isTerminal(advanced.challenge.state);
    const chosen = method === 'push' && open ? await livePush.settle(caller, advanced.challenge) : advanced.challenge;
    if (isTerminal(chosen.state)) throw challengeEnded(caller, await endings.settled(chosen));
    const fields = { ...eventFields(chosen), outcome: 'INFO', method, factorId } as const;
    await trail.append(trail.draft('challenge.method_chosen', caller, fields));
    return chosen;
  }

  /** What is sent may have been noted by now. */
  async #afterSending(challenge: Challenge, { method }: MethodOffer): Promise<Challenge> {
    if (!delivers(method) || challenge.state === 'LOCKED') return challenge;
    return (await this.#deps.challenges.read(challenge.realm, challenge.id)) ?? challenge;
  }

  async #noteNotSent(challenge: Challenge, { method, factorId }: MethodOffer, fault: Fault): Promise<void> {
    const { deliveries, clock, random } = this.#deps;
    const { reason, details } = fault;
    const id = newId('delivery', random.bytes(16));
    const at = clock.now();
    const resendable = at + (details.retryAfterMs ?? 0) < challenge.expiresAt;
    await deliveries.note(challenge, { id, method, factorId, status: 'FAILED', reason, resendable, at });
  }

  #notOffered(caller: Caller, challenge: Challenge, method: Method | undefined): Fault {
    this.#recordRefusal(caller, challenge, method);
    return methodNotOffered(challenge, method);
  }

  #recordRefusal(
    caller: Caller,
    challenge: Challenge,
    method: Method | undefined,
    reason: 'METHOD_NOT_OFFERED' | 'SUBJECT_LOCKED' = 'METHOD_NOT_OFFERED',
  ): void {
    const { trail } = this.#deps;
    const named = method === undefined ? {} : { method };
    const fields = { ...eventFields(challenge), outcome: 'REFUSED', reason, ...named } as const;
    trail.refused(trail.draft('request.refused', caller, fields));
  }
}

/** The code or notification did not go out, and the challenge can go on without it. */
function isNotSent({ reason }: Fault): boolean {
  return reason === 'LIMIT_EXCEEDED' || reason === 'DELIVERY_FAILED';
}
