import type { Caller } from '#src/domain/caller.ts';
import { mayKnow } from '#src/domain/caller.ts';
import { type Challenge, isTerminal, shownTo } from '#src/domain/challenge.ts';
import type { Method } from '#src/domain/method.ts';
import { isOver } from '#src/domain/time.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { ReceiptAuthority } from '../contracts.ts';
import type { PromptView } from '../methods/contract.ts';
import type { ChallengeAccess, ChallengeRef } from './challenge-access.ts';
import type { ChallengeEndings } from './challenge-endings.ts';
import type { ChallengeOpening } from './challenge-opening.ts';
import type { Choosing } from './choosing.ts';
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
  readonly choosing: Choosing;
  readonly receipts: ReceiptAuthority;
  readonly clock: Clock;
}

export interface OpenedView extends ChallengeView {
  /** When a method was chosen at once and there is something to show for it. */
  readonly prompt?: PromptView;
  /** To be kept in place of the token that was sent; '' for none. */
  readonly trustedDeviceToken: string;
}

/** The life of a challenge apart from its proofs: opened, read, a method chosen, given up. */
export class Challenges {
  readonly #deps: ChallengesDependencies;

  constructor(deps: ChallengesDependencies) {
    this.#deps = deps;
  }

  /** See ChallengeOpening.open and Choosing.begin. */
  async open(caller: Caller, command: OpenCommand): Promise<OpenedView> {
    const { opening, choosing } = this.#deps;
    const opened = await opening.open(caller, command);
    const { challenge, prompt } = await choosing.begin(caller, opened.challenge, command.method);
    const { trustedDeviceToken } = opened;
    const view = { ...(await this.view(caller, challenge)), trustedDeviceToken };
    return prompt ? { ...view, prompt } : view;
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

  /** See Choosing.choose. */
  choose(caller: Caller, ref: ChallengeRef, method: Method | undefined, factorId: string): Promise<PromptView> {
    return this.#deps.choosing.choose(caller, ref, method, factorId);
  }

  /** See Choosing.resend. */
  resend(caller: Caller, ref: ChallengeRef, requestId = ''): Promise<PromptView> {
    return this.#deps.choosing.resend(caller, ref, requestId);
  }

  /** The challenge as `caller` may see it, with its receipt if it is APPROVED and the receipt has not lapsed. */
  async view(caller: Caller, challenge: Challenge): Promise<ChallengeView> {
    const now = this.#deps.clock.now();
    const shown = shownTo(challenge, mayKnow(caller), now);
    const fresh = challenge.receiptExpiresAt !== undefined && !isOver(challenge.receiptExpiresAt, now);
    if (shown.state !== 'APPROVED' || !fresh) return { challenge: shown };
    return { challenge: shown, receipt: await this.#deps.receipts.issue(challenge) };
  }
}
