import { actionDigest } from '#src/domain/action.ts';
import {
  type ApprovalReason,
  type Challenge,
  LONGEST_LIFE,
  type MethodOffer,
  receiptExpiry,
} from '#src/domain/challenge.ts';
import { newId } from '#src/domain/ids.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Random } from '#src/ports/runtime.ts';
import type { Asked, ToProve } from './asked.ts';

/** Makes challenges; they are none before they are stored. */
export class ChallengeDrafts {
  readonly #random: Random;
  readonly #receiptLifeMs: DurationMs;

  constructor(deps: { readonly random: Random; readonly receiptLifeMs: DurationMs }) {
    this.#random = deps.random;
    this.#receiptLifeMs = deps.receiptLifeMs;
  }

  pending(asked: ToProve, offers: readonly MethodOffer[]): Challenge {
    const { method, language } = asked.command;
    return {
      ...this.#base(asked),
      state: 'PENDING',
      offers,
      expiresAt: asked.now + Math.min(asked.decision.ttlMs, LONGEST_LIFE),
      // A push takes the place of another before it is the chosen method: see LivePush.
      ...(method === undefined || method === 'push' ? {} : { chosenMethod: method }),
      ...(language === '' ? {} : { language }),
    };
  }

  /** Approved without a proof. */
  approved(asked: Asked, approvalReason: ApprovalReason): Challenge {
    return {
      ...this.#base(asked),
      state: 'APPROVED',
      approvalReason,
      offers: [],
      expiresAt: asked.now,
      settledAt: asked.now,
      receiptId: newId('receipt', this.#random.bytes(16)),
      receiptExpiresAt: receiptExpiry(asked.now, this.#receiptLifeMs),
    };
  }

  #base({ command, subject, session, decision, now, caller }: Asked) {
    const { realm, purpose, action, audience } = command;
    return {
      id: newId('challenge', this.#random.bytes(16)),
      realm,
      subject,
      sessionId: session?.id ?? '',
      openedBy: caller.name,
      purpose,
      action,
      actionDigest: actionDigest(realm, subject, action),
      sensitivity: decision.sensitivity,
      audience: audience === '' ? realm : audience,
      policyRule: decision.rule,
      createdAt: now,
    };
  }
}
