import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FRESH_BUDGET } from '#src/domain/failure-budget.ts';
import { type MakeStores, type StoreFixture, trailOf } from '../support/store-fixture.ts';
import {
  atOnce,
  beginOf,
  burnOf,
  challengeOf,
  claimOf,
  confirmOf,
  eventOf,
  factorOf,
  LIMITS,
  person,
  REALM,
  T0,
  tally,
} from '../support/store-samples.ts';

export function describeAttemptStore(name: string, make: MakeStores): void {
  describe(`AttemptStore over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    const spend = (subject: string, now = T0) => stores.attempts.spend({ realm: REALM, subject, limits: LIMITS, now });

    it('spends exactly five of 200 parallel attempts, and locks with the fifth', async () => {
      const subject = person();
      const outcomes = await atOnce(200, () => spend(subject));
      expect(tally(outcomes)).toEqual({ spent: 5, locked: 195 });
      const locking = outcomes.filter((attempt) => attempt.outcome === 'spent' && attempt.locks === 'short');
      expect(locking).toEqual([
        { outcome: 'spent', attemptsLeft: 0, locks: 'short', lockedUntil: T0 + LIMITS.shortLockMs },
      ]);
    });

    it('lifts the short lock at its exact instant', async () => {
      const subject = person();
      await atOnce(5, () => spend(subject));
      const until = T0 + LIMITS.shortLockMs;
      expect(await spend(subject, until - 1)).toEqual({ outcome: 'locked', until, hard: false });
      expect(await spend(subject, until)).toMatchObject({ outcome: 'spent', attemptsLeft: 4, locks: 'no' });
    });

    it('stops for good with the 100th attempt in a row', async () => {
      const subject = person();
      let now = T0;
      for (let attempt = 1; attempt < 100; attempt += 1) {
        const outcome = await spend(subject, now);
        expect(outcome.outcome).toBe('spent');
        if (outcome.outcome === 'spent' && outcome.locks === 'short') now = outcome.lockedUntil;
      }
      expect(await spend(subject, now)).toMatchObject({ outcome: 'spent', locks: 'hard', attemptsLeft: 0 });
      expect(await spend(subject, now + 10 * LIMITS.shortLockMs)).toMatchObject({ outcome: 'locked', hard: true });
      stores = await stores.restart();
      expect(await stores.attempts.read(REALM, subject)).toMatchObject({ consecutive: 100, hardLocked: true });
      const events = [eventOf('subject.unlocked', { subject, at: now })];
      expect(await stores.attempts.unlock(REALM, subject, events)).toEqual({ wasLocked: true });
      expect(await spend(subject, now)).toMatchObject({ outcome: 'spent', attemptsLeft: 4 });
    });

    it('stops for good by the person’s own word, which no success takes back, and counts the word once', async () => {
      const subject = person();
      const factor = factorOf({ subject });
      await stores.factors.begin(beginOf(factor));
      await stores.factors.confirm(confirmOf(factor));
      const challenge = challengeOf({ subject });
      await stores.challenges.open({ challenge, maxOpen: 9, events: [] });
      const pending = factorOf({ subject, method: 'webauthn' });
      await stores.factors.begin(beginOf(pending, { firstOnly: false, receipt: burnOf() }));
      const word = burnOf();
      const events = () => [eventOf('subject.reported_not_me', { subject })];
      const lock = () => stores.attempts.lock({ realm: REALM, subject, word, now: T0, events: events() });
      const outcomes = await atOnce(20, lock);
      expect(tally(outcomes)).toEqual({ locked: 1, spent: 19 });
      expect(await trailOf(stores, subject)).toContain('subject.reported_not_me');
      const late = T0 + 1_000 * LIMITS.shortLockMs;
      expect(await spend(subject, late)).toMatchObject({ outcome: 'locked', hard: true });
      const free = { realm: REALM, subject, limits: LIMITS, now: late, free: true };
      expect(await stores.attempts.spend(free)).toMatchObject({ outcome: 'locked', hard: true });
      expect(await stores.challenges.read(REALM, challenge.id)).toMatchObject({ state: 'CANCELLED' });
      expect((await stores.factors.confirm(confirmOf(pending))).outcome).toBe('missing');
      stores = await stores.restart();
      expect((await lock()).outcome).toBe('spent');
      expect((await spend(subject, late)).outcome).toBe('locked');
      const unlocked = [eventOf('subject.unlocked', { subject, at: late })];
      expect(await stores.attempts.unlock(REALM, subject, unlocked)).toEqual({ wasLocked: true });
      expect((await spend(subject, late)).outcome).toBe('spent');
    });

    it('leaves no receipt that was approved before the word, and no other person without theirs', async () => {
      const approved = async (subject: string) => {
        const receipt = burnOf();
        const { receiptId, expiresAt: receiptExpiresAt } = receipt;
        const fields = { state: 'APPROVED', approvalReason: 'TRUSTED_DEVICE', receiptId, receiptExpiresAt } as const;
        await stores.challenges.open({ challenge: challengeOf({ subject, ...fields }), maxOpen: 9, events: [] });
        return receipt;
      };
      const subject = person();
      const [spent, unspent, foreign] = [await approved(subject), await approved(subject), await approved(person())];
      const redeem = (receipt: ReturnType<typeof burnOf>) =>
        stores.challenges.burnReceipt({ ...receipt, realm: REALM, now: T0, events: [] });
      expect(await redeem(spent)).toEqual({ outcome: 'burned' });
      await stores.attempts.lock({ realm: REALM, subject, word: burnOf(), now: T0, events: [] });
      expect(await redeem(unspent)).toEqual({ outcome: 'spent' });
      expect(await redeem(foreign)).toEqual({ outcome: 'burned' });
    });

    it('keeps people and realms apart', async () => {
      const subject = person();
      await atOnce(5, () => spend(subject));
      expect((await spend(person())).outcome).toBe('spent');
      const elsewhere = { realm: 'other', subject, limits: LIMITS, now: T0 };
      expect((await stores.attempts.spend(elsewhere)).outcome).toBe('spent');
    });

    it('spends once for a repeated request and tells a reuse apart', async () => {
      const subject = person();
      const request = claimOf();
      const command = { realm: REALM, subject, limits: LIMITS, now: T0, request };
      const outcomes = await atOnce(10, () => stores.attempts.spend(command));
      expect(tally(outcomes)).toEqual({ spent: 1, repeat: 9 });
      expect(outcomes.find(({ outcome }) => outcome === 'repeat')).toEqual({
        outcome: 'repeat',
        approved: false,
        seed: request.seed,
      });
      const other = { ...request, fingerprint: 'other' };
      expect(await stores.attempts.spend({ ...command, request: other })).toEqual({ outcome: 'reused' });
      expect(await stores.attempts.read(REALM, subject)).toMatchObject({ recent: 1, consecutive: 1 });
    });

    it('answers a repeat even while the person is locked, and notes no request that was refused by the lock', async () => {
      const subject = person();
      const request = claimOf();
      const command = { realm: REALM, subject, limits: LIMITS, now: T0 };
      await stores.attempts.spend({ ...command, request });
      await atOnce(4, () => spend(subject));
      expect((await stores.attempts.spend({ ...command, request })).outcome).toBe('repeat');
      const late = claimOf();
      expect((await stores.attempts.spend({ ...command, request: late })).outcome).toBe('locked');
      const after = { ...command, now: T0 + LIMITS.shortLockMs, request: late };
      expect((await stores.attempts.spend(after)).outcome).toBe('spent');
    });

    it('counts nothing for proofs that nobody can guess, and lets no lock by guesses stand in their way', async () => {
      const subject = person();
      const free = (fields = {}) =>
        stores.attempts.spend({ realm: REALM, subject, limits: LIMITS, now: T0, free: true, ...fields });
      expect(await free()).toEqual({ outcome: 'spent', attemptsLeft: 5, locks: 'no', lockedUntil: 0 });
      await atOnce(4, () => spend(subject));
      expect(await free()).toMatchObject({ outcome: 'spent', attemptsLeft: 1 });
      await spend(subject);
      const request = claimOf();
      expect(await free({ request })).toMatchObject({ outcome: 'spent', attemptsLeft: 0 });
      expect(await free({ request })).toEqual({ outcome: 'repeat', approved: false, seed: request.seed });
      expect(await stores.attempts.read(REALM, subject)).toMatchObject({ recent: 5, consecutive: 5 });
    });

    it("takes the person's own word back by no success that comes after it", async () => {
      const subject = person();
      const factor = factorOf({ subject });
      await stores.factors.begin(beginOf(factor));
      await stores.factors.confirm(confirmOf(factor));
      await stores.attempts.lock({ realm: REALM, subject, word: burnOf(), now: T0, events: [] });
      const challenge = challengeOf({ subject });
      await stores.challenges.open({ challenge, maxOpen: 5, events: [] });
      const approved = await stores.challenges.approve({
        realm: REALM,
        challengeId: challenge.id,
        proof: { kind: 'totp', factorId: factor.id, step: 900, driftSteps: 0 },
        method: 'totp',
        receiptId: burnOf().receiptId,
        receiptExpiresAt: T0 + 60_000,
        now: T0 + 2_000,
        events: [],
      });
      expect(approved.outcome).toBe('approved');
      expect(await spend(subject, T0 + 1_000 * LIMITS.shortLockMs)).toMatchObject({ outcome: 'locked', hard: true });
    });

    it("lets not even a signature by where the person's own word stands in the way", async () => {
      const subject = person();
      await stores.attempts.lock({ realm: REALM, subject, word: burnOf(), now: T0, events: [] });
      const command = { realm: REALM, subject, limits: LIMITS, now: T0 + 1_000 * LIMITS.shortLockMs, free: true };
      expect(await stores.attempts.spend(command)).toMatchObject({ outcome: 'locked', hard: true });
    });

    it('records an unlocking only if there was something to lift', async () => {
      const subject = person();
      const events = () => [eventOf('subject.unlocked', { subject })];
      expect(await stores.attempts.unlock(REALM, subject, events())).toEqual({ wasLocked: false });
      expect(await trailOf(stores, subject)).toEqual([]);
      await spend(subject);
      expect(await stores.attempts.unlock(REALM, subject, events())).toEqual({ wasLocked: false });
      expect(await trailOf(stores, subject)).toEqual(['subject.unlocked']);
      expect(await stores.attempts.read(REALM, subject)).toEqual(FRESH_BUDGET);
    });
  });
}
