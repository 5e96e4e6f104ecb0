import type { EventDraft } from '#src/domain/audit-event.ts';
import { type Challenge, canMove, isTerminal, saysMore, stateAt } from '#src/domain/challenge.ts';
import {
  attemptsLeft,
  type Budget,
  FRESH_BUDGET,
  isStopped,
  spendAttempt,
  stopped,
  WITHOUT_END,
} from '#src/domain/failure-budget.ts';
import type { Method } from '#src/domain/method.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { AttemptStore, SpendAttempt } from '#src/ports/attempt-store.ts';
import type {
  ApproveChallenge,
  BurnReceipt,
  ChallengeStore,
  OpenChallenge,
  ProofClaim,
  SettleChallenge,
} from '#src/ports/challenge-store.ts';
import type { Repeat, RequestClaim } from '#src/ports/intents.ts';
import type { MemoryIssuedCodes } from './memory-issued-codes.ts';

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
  /** Last signature counter by factor. */
  readonly counters = new Map<string, number>();
  /** What was issued, for the world that issues codes. */
  codes: MemoryIssuedCodes | undefined;
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

  repeatOf(request: RequestClaim): Promise<Repeat | undefined> {
    return this.#state.intent(() => this.#state.repeatOf(request));
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
      if (next.state === current.state && next.chosenMethod === current.chosenMethod) {
        return { outcome: 'unchanged' as const, challenge: current };
      }
      return { outcome: 'advanced' as const, challenge: this.#state.put(next) };
    });
  }

  noteDelivery({ realm, challengeId, delivery, now, events }: Parameters<ChallengeStore['noteDelivery']>[0]) {
    return this.#state.intent(() => {
      const current = this.#state.get(realm, challengeId);
      if (!current) return { outcome: 'missing' as const };
      const state = stateAt(current, now);
      if (isTerminal(state) || !saysMore(delivery, current.delivery)) {
        return { outcome: 'unchanged' as const, challenge: { ...current, state } };
      }
      const arrived = delivery.status === 'SENT' || delivery.status === 'DELIVERED';
      const moved = arrived && canMove(current.state, 'DELIVERED') ? 'DELIVERED' : current.state;
      this.#state.events.push(...events);
      return { outcome: 'noted' as const, challenge: this.#state.put({ ...current, state: moved, delivery }) };
    });
  }

  openOf(realm: string, subject: string, method: Method, now: EpochMs): Promise<readonly Challenge[]> {
    return this.#state.intent(() =>
      [...this.#state.challenges.values()].filter(
        (each) =>
          each.realm === realm &&
          each.subject === subject &&
          each.chosenMethod === method &&
          !isTerminal(stateAt(each, now)),
      ),
    );
  }

  approve(command: ApproveChallenge): ReturnType<ChallengeStore['approve']> {
    return this.#state.intent(() => {
      const { realm, challengeId, proof, now } = command;
      const current = this.#state.get(realm, challengeId);
      if (!current) return { outcome: 'missing' as const };
      const state = stateAt(current, now);
      if (isTerminal(state)) return { outcome: 'ended' as const, challenge: { ...current, state } };
      if (!this.#claim(current, proof, now)) return { outcome: 'replayed' as const };
      const budget = this.#state.budgets.get(`${realm}\n${current.subject}`);
      if (proof.kind !== 'webauthn' && !(budget && isStopped(budget)))
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

  #claim(challenge: Challenge, proof: ProofClaim, now: EpochMs): boolean {
    const { steps, spentCodes, counters, codes } = this.#state;
    const { factorId } = proof;
    switch (proof.kind) {
      case 'totp':
        if ((steps.get(factorId) ?? -1) >= proof.step) return false;
        steps.set(factorId, proof.step);
        return true;
      case 'backup_code':
        if (spentCodes.has(proof.codeId)) return false;
        spentCodes.add(proof.codeId);
        return true;
      case 'issued': {
        const { id: bearerId, realm, subject } = challenge;
        const { method, digest } = proof;
        return codes?.use({ bearerId, realm, subject, factorId, method, digest }, now) === true;
      }
      case 'webauthn': {
        const known = counters.get(factorId) ?? 0;
        const grew = proof.signCount > known || (proof.signCount === 0 && known === 0);
        if (!grew && !proof.anyCounter) return false;
        counters.set(factorId, Math.max(known, proof.signCount));
        return true;
      }
    }
  }
}

export class MemoryAttemptStore implements AttemptStore {
  readonly #state: MemoryChallengeState;

  constructor(state: MemoryChallengeState) {
    this.#state = state;
  }

  spend(command: SpendAttempt): ReturnType<AttemptStore['spend']> {
    return this.#state.intent(() => {
      const repeat = this.#state.repeatOf(command.request);
      if (repeat?.outcome === 'repeat') return { ...repeat, approved: repeat.approved === true };
      if (repeat) return repeat;
      const key = `${command.realm}\n${command.subject}`;
      const known = this.#state.budgets.get(key) ?? FRESH_BUDGET;
      if (command.free) {
        if (isStopped(known)) return { outcome: 'locked' as const, until: WITHOUT_END, hard: true };
        this.#state.note(command.request);
        const left = attemptsLeft(known, command.limits, command.now);
        return { outcome: 'spent' as const, attemptsLeft: left, locks: 'no' as const, lockedUntil: 0 };
      }
      const spend = spendAttempt(known, command.limits, command.now);
      if (spend.outcome === 'locked') return { outcome: 'locked' as const, until: spend.until, hard: spend.hard };
      this.#state.budgets.set(key, spend.budget);
      this.#state.note(command.request);
      const { locks, budget } = spend;
      return { outcome: 'spent' as const, attemptsLeft: spend.attemptsLeft, locks, lockedUntil: budget.lockedUntil };
    });
  }

  read(realm: string, subject: string): Promise<Budget> {
    return this.#state.intent(() => this.#state.budgets.get(`${realm}\n${subject}`) ?? FRESH_BUDGET);
  }

  lock({ realm, subject, word, events }: Parameters<AttemptStore['lock']>[0]): ReturnType<AttemptStore['lock']> {
    return this.#state.intent(() => {
      const key = `${realm}\n${word.receiptId}`;
      if (this.#state.receipts.has(key)) return { outcome: 'spent' as const };
      this.#state.receipts.add(key);
      const budget = this.#state.budgets.get(`${realm}\n${subject}`) ?? FRESH_BUDGET;
      this.#state.budgets.set(`${realm}\n${subject}`, stopped(budget));
      this.#state.events.push(...events);
      return { outcome: 'locked' as const };
    });
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
