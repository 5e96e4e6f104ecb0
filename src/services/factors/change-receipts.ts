import type { EventDraft } from '#src/domain/audit-event.ts';
import { actionOf, type FactorChange, flawOf } from '#src/domain/factor-change.ts';
import { Fault } from '#src/domain/faults.ts';
import type { Method } from '#src/domain/method.ts';
import type { ReceiptBurn } from '#src/ports/intents.ts';
import type { ReceiptAuthority, ReceiptClaims } from '../contracts.ts';
import type { FactorCall, FactorTrail } from './factor-trail.ts';

/** A receipt that permits a change; `burn` goes into the store intent that makes it. */
export interface Permit {
  readonly burn: ReceiptBurn;
  /** Recorded with the change. */
  readonly event: EventDraft;
  /** '' if the challenge had no session. */
  readonly sessionId: string;
}

/** Lets factors be changed only with the receipt of a challenge that was opened for this very change. */
export class ChangeReceipts {
  readonly #receipts: ReceiptAuthority;
  readonly #trail: FactorTrail;

  constructor(receipts: ReceiptAuthority, trail: FactorTrail) {
    this.#receipts = receipts;
    this.#trail = trail;
  }

  /**
   * `touched` are the methods that the change adds or takes away. Throws Fault(precondition, STEP_UP_REQUIRED) without a
   * receipt, (precondition, RECEIPT_INVALID) and (denied, RECEIPT_MISMATCH); each is an event.
   */
  async admit(call: FactorCall, receipt: string, change: FactorChange, touched: readonly Method[]): Promise<Permit> {
    if (receipt === '') throw this.stepUpRequired(call, change);
    const claims = await this.#verify(call, receipt);
    const flaw = flawOf(claims, { realm: call.realm, subject: call.subject, change, touched });
    if (flaw !== undefined) throw this.mismatch(call, flaw);
    return {
      burn: { receiptId: claims.receiptId, expiresAt: claims.expiresAt },
      event: this.#trail.draft('receipt.redeemed', call, {
        challengeId: claims.challengeId,
        actionDigest: claims.actionDigest,
        ...(claims.sessionId === '' ? {} : { sessionId: claims.sessionId }),
        facts: { action: actionOf(change).action, proven_by: claims.method ?? '' },
      }),
      sessionId: claims.sessionId,
    };
  }

  stepUpRequired(call: FactorCall, change: FactorChange): Fault {
    const { resource, action } = actionOf(change);
    const message = `receipt: is needed; open a challenge with purpose FACTOR_CHANGE for ${action} on ${resource}`;
    return this.#trail.refuse(
      call,
      new Fault('precondition', 'STEP_UP_REQUIRED', message, {
        metadata: { purpose: 'FACTOR_CHANGE', resource, action },
        preconditions: [{ type: 'STEP_UP_REQUIRED', subject: resource, description: `needs a receipt for ${action}` }],
      }),
    );
  }

  mismatch(call: FactorCall, part: string): Fault {
    const message =
      'receipt: does not permit this change; open a challenge for it and prove it by a strong enough factor';
    return this.#trail.refuse(call, new Fault('denied', 'RECEIPT_MISMATCH', message, { metadata: { part } }), { part });
  }

  spent(call: FactorCall): Fault {
    const message = 'receipt: was redeemed before; open a new challenge';
    return this.#trail.refuse(call, new Fault('precondition', 'RECEIPT_REDEEMED', message));
  }

  async #verify(call: FactorCall, receipt: string): Promise<ReceiptClaims> {
    try {
      return await this.#receipts.verify(call.realm, receipt);
    } catch (error) {
      if (error instanceof Fault && error.reason === 'RECEIPT_INVALID') throw this.#trail.refuse(call, error);
      throw error;
    }
  }
}
