import type { EventDraft } from '#src/domain/audit-event.ts';
import { type Challenge, canMove, isTerminal, stateAt } from '#src/domain/challenge.ts';
import { type Budget, type BudgetLimits, FRESH_BUDGET, spendAttempt } from '#src/domain/failure-budget.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type {
  ApproveChallenge,
  BurnReceipt,
  ChallengeStore,
  OpenChallenge,
  SettleChallenge,
} from '#src/ports/challenge-store.ts';
import type { Repeat, RequestClaim } from '#src/ports/intents.ts';

interface NotedRequest {
  readonly claim: RequestClaim;
  approved: boolean;
}

/** What several stores of one world share. Each intent takes effect at one instant, some turns after it was asked for. */
export class MemoryChallengeState {
  readonly challenges = new Map<string, Challenge>();
  readonly budgets = new Map<string, Budget>();
  readonly requests = new Map<string, NotedRequest>();
  readonly receipts = new Set<string>();
  /** Last accepted step by factor, and spent backup codes. */
  readonly steps = new Map<string, number>();
  readonly spentCodes = new Set<string>();
  /** Recorded together with an effect. */
  readonly events: EventDraft[] = [];
  /** Thrown by every intent while set. */
  failure: Error | undefined;
  /** Every terminal state a challenge was given, in order. */
  readonly ends = new Map<string, string[]>();

  async intent<T>(work: () => T): Promise<T> {
    await Promise.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    if (this.failure) throw this.failure;
    return work();
  }

  repeatOf(request: RequestClaim | undefined): (Repeat & { readonly approved?: boolean }) | undefined {
    const noted = request && this.requests.get(request.key);
    if (!noted) return undefined;
    if (noted.claim.fingerprint !== request.fingerprint) return { outcome: 'reused' };
    return { outcome: 'repeat', seed: noted.claim.seed, approved: noted.approved };
  }

  note(request: RequestClaim | undefined): void {
    if (request) this.requests.set(request.key, { claim: request, approved: false });
  }

  put(challenge: Challenge): Challenge {
    this.challenges.set(`${challenge.realm}\n${challenge.id}`, challenge);
    if (isTerminal(challenge.state)) {
      this.ends.set(challenge.id, [...(this.ends.get(challenge.id) ?? []), challenge.state]);
    }
    return challenge;
  }

  get(realm: string, challengeId: string): Challenge | undefined {
    return this.challenges.get(`${realm}\n${challengeId}`);
  }
}

export class MemoryChallengeStore implements ChallengeStore {
  readonly #state: MemoryChallengeState;

  constructor(state: MemoryChallengeState) {
    this.#state = state;
  }

  open({ challenge, request, maxOpen, events }: OpenChallenge): ReturnType<ChallengeStore['open']> {
    return this.#state.intent(() => {
      const repeat = this.#state.repeatOf(request);
      if (repeat) return repeat;
      const open = [...this.#state.challenges.values()].filter(
        (other) =>
          other.realm === challenge.realm &&
          other.subject === challenge.subject &&
          !isTerminal(stateAt(other, challenge.createdAt)),
      );
      if (!isTerminal(challenge.state) && open.length >= maxOpen) return { outcome: 'too_many' as const };
      this.#state.put(challenge);
      this.#state.note(request);
      this.#state.events.push(...events);
      return { outcome: 'opened' as const };
    });
  }

  read(realm: string, challengeId: string): Promise<Challenge | undefined> {
    return this.#state.intent(() => this.#state.get(realm, challengeId));
  }

  advance({ realm, challengeId, to, chosenMethod, now }: Parameters<ChallengeStore['advance']>[0]) {
    return this.#state.intent(() => {
      const current = this.#state.get(realm, challengeId);
      if (!current) return { outcome: 'missing' as const };
      const state = stateAt(current, now);
      if (isTerminal(state)) return { outcome: 'unchanged' as const, challenge: { ...current, state } };
      const moved = canMove(current.state, to) ? to : current.state;
      const next = { ...current, state: moved, ...(chosenMethod === undefined ? {} : { chosenMethod }) };
      return { outcome: 'advanced' as const, challenge: this.#state.put(next) };
    });
  }

  approve(command: ApproveChallenge): ReturnType<ChallengeStore['approve']> {
    return this.#state.intent(() => {
      const { realm, challengeId, proof, now } = command;
      const current = this.#state.get(realm, challengeId);
      if (!current) return { outcome: 'missing' as const };
      const state = stateAt(current, now);
      if (isTerminal(state)) return { outcome: 'ended' as const, challenge: { ...current, state } };
      if (proof.kind === 'totp') {
        if ((this.#state.steps.get(proof.factorId) ?? -1) >= proof.step) return { outcome: 'replayed' as const };
        this.#state.steps.set(proof.factorId, proof.step);
      } else {
        if (this.#state.spentCodes.has(proof.codeId)) return { outcome: 'replayed' as const };
        this.#state.spentCodes.add(proof.codeId);
      }
      this.#state.budgets.delete(`${realm}\n${current.subject}`);
      const noted = command.requestKey === undefined ? undefined : this.#state.requests.get(command.requestKey);
      if (noted) noted.approved = true;
      this.#state.events.push(...command.events);
      const challenge = this.#state.put({
        ...current,
        state: 'APPROVED',
        approvalReason: 'PROOF',
        provenMethod: command.method,
        provenFactorId: proof.factorId,
        settledAt: now,
        receiptId: command.receiptId,
        receiptExpiresAt: command.receiptExpiresAt,
      });
      return { outcome: 'approved' as const, challenge, codesLeft: 9 };
    });
  }

  settle({ realm, challengeId, to, now, events }: SettleChallenge): ReturnType<ChallengeStore['settle']> {
    return this.#state.intent(() => {
      const current = this.#state.get(realm, challengeId);
      if (!current) return { outcome: 'missing' as const };
      const seen = stateAt(current, now);
      if (isTerminal(current.state) || (seen === 'EXPIRED' && to !== 'EXPIRED')) {
        return { outcome: 'ended' as const, challenge: { ...current, state: seen } };
      }
      this.#state.events.push(...events);
      return { outcome: 'settled' as const, challenge: this.#state.put({ ...current, state: to, settledAt: now }) };
    });
  }

  burnReceipt({ realm, receiptId, request, events }: BurnReceipt): ReturnType<ChallengeStore['burnReceipt']> {
    return this.#state.intent(() => {
      const repeat = this.#state.repeatOf(request);
      if (repeat) return repeat;
      const key = `${realm}\n${receiptId}`;
      if (this.#state.receipts.has(key)) return { outcome: 'spent' as const };
      this.#state.receipts.add(key);
      this.#state.note(request);
      this.#state.events.push(...events);
      return { outcome: 'burned' as const };
    });
  }

  due(now: EpochMs, limit: number): Promise<readonly Challenge[]> {
    return this.#state.intent(() =>
      [...this.#state.challenges.values()]
        .filter((challenge) => !isTerminal(challenge.state) && challenge.expiresAt <= now)
        .sort((a, b) => a.expiresAt - b.expiresAt)
        .slice(0, limit),
    );
  }

  purge(before: EpochMs, limit: number): Promise<number> {
    return this.#state.intent(() => {
      const old = [...this.#state.challenges].filter(
        ([, { settledAt }]) => settledAt !== undefined && settledAt < before,
      );
      for (const [key] of old.slice(0, limit)) this.#state.challenges.delete(key);
      return Math.min(old.length, limit);
    });
  }
}

export class MemoryAttemptStore implements AttemptStore {
  readonly #state: MemoryChallengeState;

  constructor(state: MemoryChallengeState) {
    this.#state = state;
  }

  spend(command: {
    readonly realm: string;
    readonly subject: string;
    readonly limits: BudgetLimits;
    readonly now: EpochMs;
    readonly request?: RequestClaim;
  }): ReturnType<AttemptStore['spend']> {
    return this.#state.intent(() => {
      const repeat = this.#state.repeatOf(command.request);
      if (repeat?.outcome === 'repeat') return { ...repeat, approved: repeat.approved === true };
      if (repeat) return repeat;
      const key = `${command.realm}\n${command.subject}`;
      const spend = spendAttempt(this.#state.budgets.get(key) ?? FRESH_BUDGET, command.limits, command.now);
      if (spend.outcome === 'locked') return { outcome: 'locked' as const, until: spend.until, hard: spend.hard };
      this.#state.budgets.set(key, spend.budget);
      this.#state.note(command.request);
      const { attemptsLeft, locks, budget } = spend;
      return { outcome: 'spent' as const, attemptsLeft, locks, lockedUntil: budget.lockedUntil };
    });
  }

  read(realm: string, subject: string): Promise<Budget> {
    return this.#state.intent(() => this.#state.budgets.get(`${realm}\n${subject}`) ?? FRESH_BUDGET);
  }

  unlock(realm: string, subject: string, events: readonly EventDraft[]): Promise<{ readonly wasLocked: boolean }> {
    return this.#state.intent(() => {
      const budget = this.#state.budgets.get(`${realm}\n${subject}`);
      this.#state.budgets.delete(`${realm}\n${subject}`);
      if (budget) this.#state.events.push(...events);
      return { wasLocked: budget !== undefined && budget.lockedUntil > 0 };
    });
  }
}
