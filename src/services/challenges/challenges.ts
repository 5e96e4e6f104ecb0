import type { Caller } from '#src/domain/caller.ts';
import { mayKnow } from '#src/domain/caller.ts';
import { type Challenge, isTerminal, type MethodOffer, shownTo } from '#src/domain/challenge.ts';
import type { Fault } from '#src/domain/faults.ts';
import type { Method } from '#src/domain/method.ts';
import { isOver } from '#src/domain/time.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { Signals } from '#src/ports/signals.ts';
import type { ReceiptAuthority } from '../contracts.ts';
import type { PromptView } from '../methods/contract.ts';
import type { Trail } from '../trail.ts';
import { type ChallengeAccess, type ChallengeRef, challengeEnded } from './challenge-access.ts';
import { type ChallengeEndings, eventFields, gone } from './challenge-endings.ts';
import type { ChallengeOpening } from './challenge-opening.ts';
import { methodNotOffered } from './method-not-offered.ts';
import type { OpenCommand } from './open-command.ts';

export interface IssuedReceipt {
  readonly token: string;
  readonly expiresAt: number;
}

/** A challenge as its caller may see it, with the receipt while it is fresh. */
export interface ChallengeView {
  readonly challenge: Challenge;
  readonly receipt?: IssuedReceipt;
}

export interface ChallengesDependencies {
  readonly opening: ChallengeOpening;
  readonly access: ChallengeAccess;
  readonly endings: ChallengeEndings;
  readonly challenges: Pick<ChallengeStore, 'advance'>;
  readonly receipts: ReceiptAuthority;
  readonly signals: Signals;
  readonly trail: Trail;
  readonly clock: Clock;
}

/** The life of a challenge apart from its proofs: opened, read, a method chosen, given up. */
export class Challenges {
  readonly #deps: ChallengesDependencies;

  constructor(deps: ChallengesDependencies) {
    this.#deps = deps;
  }

  /** See ChallengeOpening.open. `prompt` is there when a method was chosen at once. */
  async open(caller: Caller, command: OpenCommand): Promise<ChallengeView & { readonly prompt?: PromptView }> {
    const challenge = await this.#deps.opening.open(caller, command);
    const offer = challenge.offers.find(({ method }) => method === challenge.chosenMethod);
    const view = await this.view(caller, challenge);
    return offer && !isTerminal(challenge.state) ? { ...view, prompt: promptOf(offer) } : view;
  }

  /** Throws Fault(not-found, CHALLENGE_NOT_FOUND) for whoever it is not bound to. */
  async read(caller: Caller, ref: ChallengeRef): Promise<ChallengeView> {
    return this.view(caller, await this.#deps.access.read(caller, ref));
  }

  /** Ends an open challenge; one that has ended stays as it ended. `reason` is for the trail. */
  async cancel(caller: Caller, ref: ChallengeRef, reason: string): Promise<ChallengeView> {
    const challenge = await this.#deps.access.read(caller, ref);
    if (isTerminal(challenge.state)) return this.view(caller, challenge);
    const facts = reason === '' ? {} : { cancel_reason: reason };
    const ended = await this.#deps.endings.end(challenge, 'CANCELLED', caller, { facts });
    return this.view(caller, ended.challenge);
  }

  /**
   * Notes the method; `factorId` '' where the method has one factor only.
   * Throws Fault(precondition) METHOD_NOT_OFFERED or CHALLENGE_ENDED.
   */
  async choose(caller: Caller, ref: ChallengeRef, method: Method | undefined, factorId: string): Promise<PromptView> {
    const { access, challenges, endings, trail, signals, clock } = this.#deps;
    const challenge = await access.read(caller, ref);
    if (isTerminal(shownTo(challenge, mayKnow(caller), clock.now()).state)) throw challengeEnded(caller, challenge);
    const offer = challenge.offers.find(
      (candidate) => candidate.method === method && (factorId === '' || candidate.factorId === factorId),
    );
    if (!offer) throw this.#notOffered(caller, challenge, method);
    // For somebody who may not know, a locked challenge takes the choice as an open one would.
    if (challenge.state === 'LOCKED' || challenge.chosenMethod === offer.method) return promptOf(offer);
    const advanced = await challenges.advance({
      realm: challenge.realm,
      challengeId: challenge.id,
      to: challenge.state,
      chosenMethod: offer.method,
      now: clock.now(),
    });
    if (advanced.outcome === 'missing') throw gone();
    if (isTerminal(advanced.challenge.state)) throw challengeEnded(caller, await endings.settled(advanced.challenge));
    signals.challengeChanged(advanced.challenge);
    await trail.append(
      trail.draft('challenge.method_chosen', caller, {
        ...eventFields(advanced.challenge),
        outcome: 'INFO',
        method: offer.method,
        factorId: offer.factorId,
      }),
    );
    return promptOf(offer);
  }

  /** Throws Fault(precondition, METHOD_NOT_OFFERED) while no method on offer sends anything. */
  async resend(caller: Caller, ref: ChallengeRef): Promise<PromptView> {
    const { access, clock } = this.#deps;
    const challenge = await access.read(caller, ref);
    if (isTerminal(shownTo(challenge, mayKnow(caller), clock.now()).state)) throw challengeEnded(caller, challenge);
    throw this.#notOffered(caller, challenge, challenge.chosenMethod);
  }

  /** The challenge as `caller` may see it, with its receipt if it is APPROVED and the receipt has not lapsed. */
  async view(caller: Caller, challenge: Challenge): Promise<ChallengeView> {
    const now = this.#deps.clock.now();
    const shown = shownTo(challenge, mayKnow(caller), now);
    const fresh = challenge.receiptExpiresAt !== undefined && !isOver(challenge.receiptExpiresAt, now);
    if (shown.state !== 'APPROVED' || !fresh) return { challenge: shown };
    return { challenge: shown, receipt: await this.#deps.receipts.issue(challenge) };
  }

  #notOffered(caller: Caller, challenge: Challenge, method: Method | undefined): Fault {
    const { trail } = this.#deps;
    trail.refused(
      trail.draft('request.refused', caller, {
        ...eventFields(challenge),
        outcome: 'REFUSED',
        reason: 'METHOD_NOT_OFFERED',
        ...(method === undefined ? {} : { method }),
      }),
    );
    return methodNotOffered(challenge, method);
  }
}

function promptOf(offer: MethodOffer): PromptView {
  return { method: offer.method, factorId: offer.factorId };
}
