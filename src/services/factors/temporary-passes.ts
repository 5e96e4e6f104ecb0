import { type BudgetLimits, isLocked } from '#src/domain/failure-budget.ts';
import { Fault } from '#src/domain/faults.ts';
import { parseTemporaryPass, passDigestInput } from '#src/domain/temporary-pass.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { RequestClaim } from '#src/ports/intents.ts';
import type { Clock, KeyedDigest } from '#src/ports/runtime.ts';
import { requestIdReused } from '../request-claims.ts';
import { subjectLocked } from '../subject-locked.ts';
import type { FactorCall, FactorTrail } from './factor-trail.ts';

/** What the stored digest of a pass is made for; of `passDigestInput`. */
export const PASS_PURPOSE = 'subject.pass';

export interface TemporaryPassDependencies {
  readonly attempts: Pick<AttemptStore, 'spend' | 'read'>;
  readonly digest: KeyedDigest;
  readonly clock: Clock;
  readonly budget: BudgetLimits;
  readonly trail: FactorTrail;
}

/** A pass that was shown, with an attempt spent for it. */
export interface ShownPass {
  readonly digest: Uint8Array;
  readonly locks: 'no' | 'short' | 'hard';
}

/**
 * The passes of people whom an operator has reset. A pass is a secret that can be guessed at, so whoever shows one
 * spends an attempt of the person's budget before the store compares it; the confirmation gives it back.
 */
export class TemporaryPasses {
  readonly #deps: TemporaryPassDependencies;

  constructor(deps: TemporaryPassDependencies) {
    this.#deps = deps;
  }

  /**
   * What to hand to the store; undefined when none was shown. A repeat of the request spends nothing, since its
   * fingerprint holds the same pass. Throws Fault(limited, SUBJECT_LOCKED) and (invalid, REQUEST_ID_REUSED).
   */
  async spendOn(call: FactorCall, typed: string, request: RequestClaim | undefined): Promise<ShownPass | undefined> {
    if (typed === '') return undefined;
    const { attempts, budget: limits, clock, digest, trail } = this.#deps;
    const { realm, subject } = call;
    const spent = await attempts.spend({
      realm,
      subject,
      limits,
      now: clock.now(),
      // By a key of its own: the store's step claims the request itself.
      ...(request ? { request: { ...request, key: `${request.key}\npass` } } : {}),
    });
    if (spent.outcome === 'reused') throw trail.refuse(call, requestIdReused());
    if (spent.outcome === 'locked') {
      throw trail.refuse(call, subjectLocked(spent.hard ? undefined : spent.until - clock.now()));
    }
    return {
      // Text that is no pass gives a digest that no pass has.
      digest: digest.digest(PASS_PURPOSE, passDigestInput(realm, subject, parseTemporaryPass(typed) ?? '')),
      locks: spent.outcome === 'spent' ? spent.locks : 'no',
    };
  }

  required(): Fault {
    const message = 'temporary_pass: is needed, since an operator has reset the person';
    return new Fault('precondition', 'PASS_REQUIRED', message, {
      preconditions: [{ type: 'PASS_REQUIRED', subject: 'temporary_pass', description: 'the person was reset' }],
    });
  }

  /** Records the refusal, and the lock if the attempt for this pass brought it about. */
  async wrong(call: FactorCall, shown: ShownPass | undefined): Promise<Fault> {
    const { attempts, clock, trail } = this.#deps;
    const description = 'is not the pass, or its time is up';
    const fault = new Fault('invalid', 'PROOF_REFUSED', `temporary_pass: ${description}`, {
      metadata: { field: 'temporary_pass' },
      violations: [{ field: 'temporary_pass', description }],
    });
    trail.refuse(call, fault);
    if (shown && shown.locks !== 'no') {
      const budget = await attempts.read(call.realm, call.subject);
      if (isLocked(budget, clock.now())) trail.locked(call, shown.locks, budget);
    }
    return fault;
  }
}
