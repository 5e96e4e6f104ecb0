import type { Caller } from '#src/domain/caller.ts';
import type { ChallengePurpose } from '#src/domain/challenge.ts';
import { Fault, type Reason } from '#src/domain/faults.ts';
import type { ReceiptAuthority, ReceiptClaims } from '../contracts.ts';
import type { Trail } from '../trail.ts';

/** What a receipt has to prove before it does anything for a session. */
export interface ReceiptUse {
  readonly realm: string;
  readonly subject: string;
  /** undefined when there is no session yet. */
  readonly sessionId: string | undefined;
  readonly purposes: readonly ChallengePurpose[];
}

/** Checks receipts that sessions are made or raised with. Refusals are audited. */
export class SessionReceipts {
  readonly #receipts: ReceiptAuthority;
  readonly #trail: Trail;

  constructor(receipts: ReceiptAuthority, trail: Trail) {
    this.#receipts = receipts;
    this.#trail = trail;
  }

  /** Throws Fault(precondition, RECEIPT_INVALID) or Fault(denied, RECEIPT_MISMATCH). The caller burns it with its effect. */
  async check(token: string, use: ReceiptUse, caller: Caller): Promise<ReceiptClaims> {
    let claims: ReceiptClaims;
    try {
      claims = await this.#receipts.verify(use.realm, token);
    } catch (error) {
      if (error instanceof Fault && error.reason === 'RECEIPT_INVALID') this.#refused(use, 'RECEIPT_INVALID', caller);
      throw error;
    }
    const wrong =
      claims.audience !== use.realm
        ? 'audience'
        : claims.subject !== use.subject
          ? 'subject'
          : !use.purposes.includes(claims.purpose)
            ? 'purpose'
            : use.sessionId !== undefined && claims.sessionId !== use.sessionId
              ? 'session'
              : undefined;
    if (wrong !== undefined) {
      this.#refused(use, 'RECEIPT_MISMATCH', caller, wrong);
      throw new Fault('denied', 'RECEIPT_MISMATCH', `receipt: is for another ${wrong}`, { metadata: { part: wrong } });
    }
    return claims;
  }

  /** The receipt was redeemed before. */
  spent(use: ReceiptUse, caller: Caller): Fault {
    this.#refused(use, 'RECEIPT_REDEEMED', caller);
    return new Fault('precondition', 'RECEIPT_REDEEMED', 'receipt: was redeemed before; open a new challenge');
  }

  #refused(use: ReceiptUse, reason: Reason, caller: Caller, part?: string): void {
    this.#trail.refused(
      this.#trail.draft('session.refused', caller, {
        realm: use.realm,
        subject: use.subject,
        ...(use.sessionId === undefined ? {} : { sessionId: use.sessionId }),
        outcome: 'REFUSED',
        reason,
        ...(part === undefined ? {} : { facts: { part } }),
      }),
    );
  }
}
