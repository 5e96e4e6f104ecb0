import { type Action, actionDigest } from '#src/domain/action.ts';
import type { Caller } from '#src/domain/caller.ts';
import { Fault } from '#src/domain/faults.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { ReceiptAuthority, ReceiptClaims, SessionAuthority } from '../contracts.ts';
import { type RequestClaims, requestIdReused } from '../request-claims.ts';
import type { Trail } from '../trail.ts';
import { fingerprintOfAction } from './open-command.ts';

export interface RedeemCommand {
  readonly realm: string;
  readonly receipt: string;
  readonly subject: string;
  /** '' for none. */
  readonly sessionToken: string;
  readonly action: Action;
  /** '' means the realm. */
  readonly audience: string;
  readonly requestId: string;
}

export interface RedemptionDependencies {
  readonly receipts: ReceiptAuthority;
  readonly challenges: Pick<ChallengeStore, 'burnReceipt'>;
  readonly sessions: SessionAuthority;
  readonly claims: RequestClaims;
  readonly trail: Trail;
  readonly clock: Clock;
}

/** Redeems receipts: each exactly once, and only for what was approved. */
export class Redemption {
  readonly #deps: RedemptionDependencies;

  constructor(deps: RedemptionDependencies) {
    this.#deps = deps;
  }

  /**
   * What was proven. A receipt that is presented for anything else than it was made for is void from then on.
   * Faults: precondition RECEIPT_INVALID and RECEIPT_REDEEMED, denied RECEIPT_MISMATCH, unauthenticated SESSION_INVALID,
   * invalid REQUEST_ID_REUSED.
   */
  async redeem(caller: Caller, command: RedeemCommand): Promise<ReceiptClaims> {
    const claims = await this.#verify(caller, command);
    const mismatch = await this.#mismatch(caller, command, claims);
    if (mismatch !== undefined) throw await this.#void(caller, command, claims, mismatch);
    const { challenges, trail, clock } = this.#deps;
    const request = this.#deps.claims.claim({
      realm: command.realm,
      method: 'RedeemReceipt',
      caller,
      requestId: command.requestId,
      fields: [
        command.receipt,
        command.subject,
        command.sessionToken,
        command.audience,
        ...fingerprintOfAction(command.action),
      ],
      seed: claims.receiptId,
    });
    const burned = await challenges.burnReceipt({
      realm: command.realm,
      receiptId: claims.receiptId,
      expiresAt: claims.expiresAt,
      now: clock.now(),
      events: [
        trail.draft('receipt.redeemed', caller, {
          ...fieldsOf(claims),
          outcome: 'SUCCESS',
          reason: claims.approvalReason,
          facts: { receipt_id: claims.receiptId, purpose: claims.purpose, audience: claims.audience },
        }),
      ],
      ...(request ? { request } : {}),
    });
    switch (burned.outcome) {
      case 'burned':
      case 'repeat':
        return claims;
      case 'reused':
        this.#refused(caller, command, claims, 'REQUEST_ID_REUSED');
        throw requestIdReused();
      case 'spent':
        this.#refused(caller, command, claims, 'RECEIPT_REDEEMED');
        throw new Fault('precondition', 'RECEIPT_REDEEMED', 'the receipt was used before; open a new challenge');
    }
  }

  async #verify(caller: Caller, command: RedeemCommand): Promise<ReceiptClaims> {
    try {
      return await this.#deps.receipts.verify(command.realm, command.receipt);
    } catch (error) {
      if (error instanceof Fault && error.reason === 'RECEIPT_INVALID') {
        this.#refused(caller, command, undefined, 'RECEIPT_INVALID');
      }
      throw error;
    }
  }

  /** The name of the first thing that is not as approved. A session that is not live is not compared but refused. */
  async #mismatch(caller: Caller, command: RedeemCommand, claims: ReceiptClaims): Promise<string | undefined> {
    const { realm, subject, action } = command;
    if ((command.audience || realm) !== claims.audience) return 'audience';
    if (subject !== claims.subject) return 'subject';
    if (actionDigest(realm, subject, action) !== claims.actionDigest) return 'action';
    if (command.sessionToken === '') return claims.sessionId === '' ? undefined : 'session';
    const session = await this.#deps.sessions.authenticate(realm, command.sessionToken);
    if (!session) {
      // A step-up rotates the token, so an old one is a mistake rather than an attack: the receipt stays good.
      this.#refused(caller, command, claims, 'SESSION_INVALID');
      throw new Fault('unauthenticated', 'SESSION_INVALID', 'the session token is not good');
    }
    const bound = claims.sessionId === '' ? session.subject === subject : session.id === claims.sessionId;
    return bound ? undefined : 'session';
  }

  async #void(caller: Caller, command: RedeemCommand, claims: ReceiptClaims, mismatch: string): Promise<Fault> {
    const { challenges, trail, clock } = this.#deps;
    const event = trail.draft('receipt.refused', caller, {
      ...fieldsOf(claims),
      outcome: 'REFUSED',
      reason: 'RECEIPT_MISMATCH',
      facts: { receipt_id: claims.receiptId, mismatch, presented_digest: presentedDigest(command) },
    });
    const burned = await challenges.burnReceipt({
      realm: command.realm,
      receiptId: claims.receiptId,
      expiresAt: claims.expiresAt,
      now: clock.now(),
      events: [event],
    });
    if (burned.outcome !== 'burned') trail.refused(event);
    return new Fault('denied', 'RECEIPT_MISMATCH', 'the receipt does not prove this, and is void now', {
      metadata: { mismatch },
    });
  }

  #refused(caller: Caller, command: RedeemCommand, claims: ReceiptClaims | undefined, reason: string): void {
    const { trail } = this.#deps;
    const person = claims
      ? { ...fieldsOf(claims), facts: { receipt_id: claims.receiptId } }
      : {
          realm: command.realm,
          actionDigest: presentedDigest(command),
          ...(command.subject ? { subject: command.subject } : {}),
        };
    trail.refused(trail.draft('receipt.refused', caller, { ...person, outcome: 'REFUSED', reason }));
  }
}

function presentedDigest({ realm, subject, action }: RedeemCommand): string {
  return actionDigest(realm, subject, action);
}

function fieldsOf(claims: ReceiptClaims) {
  return {
    realm: claims.realm,
    subject: claims.subject,
    challengeId: claims.challengeId,
    actionDigest: claims.actionDigest,
    ...(claims.sessionId === '' ? {} : { sessionId: claims.sessionId }),
  };
}
