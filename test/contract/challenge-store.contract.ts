import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { MINUTE } from '#src/domain/time.ts';
import type { ApproveChallenge, SettleChallenge } from '#src/ports/challenge-store.ts';
import { type MakeStores, type StoreFixture, trailOf } from '../support/store-fixture.ts';
import {
  atOnce,
  beginOf,
  burnOf,
  challengeOf,
  claimOf,
  codeSetOf,
  confirmOf,
  eventOf,
  factorOf,
  id,
  LIMITS,
  person,
  REALM,
  T0,
  tally,
} from '../support/store-samples.ts';

export function describeChallengeStore(name: string, make: MakeStores): void {
  describe(`ChallengeStore over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    const open = async (fields: Partial<Challenge> = {}) => {
      const challenge = challengeOf(fields);
      const events = [eventOf('challenge.opened', { subject: challenge.subject, challengeId: challenge.id })];
      expect(await stores.challenges.open({ challenge, maxOpen: 50, events })).toEqual({ outcome: 'opened' });
      return challenge;
    };
    const enrol = async (subject: string) => {
      const factor = factorOf({ subject });
      await stores.factors.begin(beginOf(factor));
      await stores.factors.confirm(confirmOf(factor, { backupCodes: codeSetOf(subject) }));
      return factor;
    };
    const approval = (challenge: Challenge, factor: Factor, fields: Partial<ApproveChallenge> = {}) => ({
      realm: REALM,
      challengeId: challenge.id,
      proof: { kind: 'totp' as const, factorId: factor.id, step: 101, driftSteps: 1 },
      method: 'totp' as const,
      receiptId: id('receipt'),
      receiptExpiresAt: T0 + 5 * MINUTE,
      now: T0 + 2_000,
      events: [eventOf('challenge.approved', { subject: challenge.subject, challengeId: challenge.id })],
      ...fields,
    });
    const settling = (challenge: Challenge, to: SettleChallenge['to'], now = T0 + 3_000): SettleChallenge => ({
      realm: REALM,
      challengeId: challenge.id,
      to,
      now,
      events: [eventOf('challenge.denied', { subject: challenge.subject, challengeId: challenge.id })],
    });

    it('gives back what was opened, and records its event', async () => {
      const challenge = await open();
      expect(await stores.challenges.read(REALM, challenge.id)).toEqual(challenge);
      expect(await trailOf(stores, challenge.subject)).toEqual(['challenge.opened']);
    });

    it('keeps realms apart', async () => {
      const challenge = await open();
      expect(await stores.challenges.read('other', challenge.id)).toBeUndefined();
      expect(await stores.challenges.settle({ ...settling(challenge, 'DENIED'), realm: 'other' })).toEqual({
        outcome: 'missing',
      });
    });

    it('opens no more than the bound allows, however many try at once', async () => {
      const subject = person();
      const outcomes = await atOnce(20, () =>
        stores.challenges.open({ challenge: challengeOf({ subject }), maxOpen: 3, events: [] }),
      );
      expect(tally(outcomes)).toEqual({ opened: 3, too_many: 17 });
    });

    it('does not count expired challenges against the bound', async () => {
      const subject = person();
      await open({ subject, expiresAt: T0 + 10 });
      const later = challengeOf({ subject, createdAt: T0 + 9, expiresAt: T0 + MINUTE });
      const command = { maxOpen: 1, events: [] };
      expect(await stores.challenges.open({ ...command, challenge: later })).toEqual({ outcome: 'too_many' });
      const atExpiry = { ...later, createdAt: T0 + 10 };
      expect(await stores.challenges.open({ ...command, challenge: atExpiry })).toEqual({ outcome: 'opened' });
    });

    it('answers a repeated request with the first seed and no second challenge', async () => {
      const subject = person();
      const request = claimOf();
      const outcomes = await atOnce(10, () =>
        stores.challenges.open({ challenge: challengeOf({ subject }), maxOpen: 50, request, events: [] }),
      );
      expect(tally(outcomes)).toEqual({ opened: 1, repeat: 9 });
      expect(outcomes.find(({ outcome }) => outcome === 'repeat')).toEqual({ outcome: 'repeat', seed: request.seed });
      const other = { ...request, fingerprint: 'other', seed: Uint8Array.of(7) };
      const reuse = { challenge: challengeOf({ subject }), maxOpen: 50, request: other, events: [] };
      expect(await stores.challenges.open(reuse)).toEqual({ outcome: 'reused' });
    });

    it('forgets a request id at the instant it runs out', async () => {
      const request = claimOf({ expiresAt: T0 + 1_000 });
      const at = (now: number) =>
        stores.challenges.open({ challenge: challengeOf({ createdAt: now }), maxOpen: 9, request, events: [] });
      expect((await at(T0)).outcome).toBe('opened');
      expect((await at(T0 + 999)).outcome).toBe('repeat');
      expect((await at(T0 + 1_000)).outcome).toBe('opened');
    });

    it('does not keep the request id of a challenge that was not opened', async () => {
      const subject = person();
      await open({ subject });
      const command = { challenge: challengeOf({ subject }), request: claimOf(), events: [] };
      expect((await stores.challenges.open({ ...command, maxOpen: 1 })).outcome).toBe('too_many');
      expect((await stores.challenges.open({ ...command, maxOpen: 2 })).outcome).toBe('opened');
    });

    it('advances forward only, and notes the chosen method', async () => {
      const challenge = await open();
      const advance = (to: 'PENDING' | 'DELIVERED' | 'SEEN', chosenMethod?: 'totp' | 'push') =>
        stores.challenges.advance({
          realm: REALM,
          challengeId: challenge.id,
          to,
          now: T0 + 1,
          ...(chosenMethod && { chosenMethod }),
        });
      expect(await advance('PENDING', 'totp')).toMatchObject({
        outcome: 'advanced',
        challenge: { state: 'PENDING', chosenMethod: 'totp' },
      });
      expect(await advance('SEEN', 'push')).toMatchObject({ outcome: 'advanced', challenge: { state: 'SEEN' } });
      expect(await advance('DELIVERED')).toMatchObject({
        outcome: 'unchanged',
        challenge: { state: 'SEEN', chosenMethod: 'push' },
      });
      expect(await stores.challenges.read(REALM, challenge.id)).toMatchObject({ state: 'SEEN', chosenMethod: 'push' });
    });

    it('does not advance an ended or expired challenge, nor to an end', async () => {
      const challenge = await open();
      const command = { realm: REALM, challengeId: challenge.id, to: 'SEEN' as const };
      expect(await stores.challenges.advance({ ...command, now: challenge.expiresAt })).toMatchObject({
        outcome: 'unchanged',
        challenge: { state: 'EXPIRED' },
      });
      await stores.challenges.settle(settling(challenge, 'CANCELLED'));
      expect(await stores.challenges.advance({ ...command, now: T0 + 1 })).toMatchObject({
        outcome: 'unchanged',
        challenge: { state: 'CANCELLED' },
      });
      await expect(stores.challenges.advance({ ...command, to: 'APPROVED', now: T0 })).rejects.toMatchObject({
        kind: 'internal',
      });
    });

    it('approves one of 100 parallel submissions of one step, with one event', async () => {
      const subject = person();
      const factor = await enrol(subject);
      const challenges = await Promise.all([open({ subject }), open({ subject })]);
      const outcomes = await atOnce(100, (index) =>
        stores.challenges.approve(approval(challenges[index % 2] ?? challengeOf(), factor)),
      );
      const counts = tally(outcomes);
      expect(counts['approved']).toBe(1);
      expect((counts['ended'] ?? 0) + (counts['replayed'] ?? 0)).toBe(99);
      const events = await trailOf(stores, subject);
      expect(events.filter((type) => type === 'challenge.approved')).toHaveLength(1);
    });

    it('notes what proved it and uses the step up', async () => {
      const subject = person();
      const factor = await enrol(subject);
      const challenge = await open({ subject });
      const command = approval(challenge, factor);
      const approved = await stores.challenges.approve(command);
      expect(approved).toMatchObject({
        outcome: 'approved',
        challenge: {
          state: 'APPROVED',
          approvalReason: 'PROOF',
          provenMethod: 'totp',
          provenFactorId: factor.id,
          settledAt: command.now,
          receiptId: command.receiptId,
          receiptExpiresAt: command.receiptExpiresAt,
        },
      });
      expect(await stores.factors.read(REALM, factor.id)).toMatchObject({
        lastStep: 101,
        driftSteps: 1,
        lastUsedAt: command.now,
      });
    });

    it('calls a step at or below the last one replayed, and leaves the challenge open', async () => {
      const subject = person();
      const factor = await enrol(subject);
      const challenge = await open({ subject });
      for (const step of [100, 99]) {
        const proof = { kind: 'totp' as const, factorId: factor.id, step, driftSteps: 0 };
        expect(await stores.challenges.approve(approval(challenge, factor, { proof }))).toEqual({
          outcome: 'replayed',
        });
      }
      expect(await stores.challenges.read(REALM, challenge.id)).toEqual(challenge);
      expect(await trailOf(stores, subject)).not.toContain('challenge.approved');
    });

    it("accepts no other person's factor and no factor that is not active", async () => {
      const [mine, theirs] = [person(), person()];
      const foreign = await enrol(theirs);
      const pending = factorOf({ subject: mine });
      await stores.factors.begin(beginOf(pending));
      const challenge = await open({ subject: mine });
      for (const factor of [foreign, pending]) {
        expect(await stores.challenges.approve(approval(challenge, factor))).toEqual({ outcome: 'replayed' });
      }
      expect(await stores.factors.read(REALM, foreign.id)).toMatchObject({ lastStep: 100 });
    });

    it('spends a backup code once and counts those left', async () => {
      const subject = person();
      await enrol(subject);
      const code = await stores.factors.findBackupCode(REALM, subject, 's3');
      const proof = { kind: 'backup_code' as const, factorId: code?.factorId ?? '', codeId: code?.id ?? '' };
      const challenges = await Promise.all(Array.from({ length: 10 }, () => open({ subject })));
      const outcomes = await Promise.all(
        challenges.map((challenge) =>
          stores.challenges.approve(approval(challenge, factorOf(), { proof, method: 'backup_code' })),
        ),
      );
      expect(tally(outcomes)).toEqual({ approved: 1, replayed: 9 });
      expect(outcomes.find(({ outcome }) => outcome === 'approved')).toMatchObject({ codesLeft: 9 });
      expect(await stores.factors.findBackupCode(REALM, subject, 's3')).toBeUndefined();
    });

    it('says in the event of a backup code how many are left', async () => {
      const subject = person();
      await enrol(subject);
      const code = await stores.factors.findBackupCode(REALM, subject, 's3');
      const proof = { kind: 'backup_code' as const, factorId: code?.factorId ?? '', codeId: code?.id ?? '' };
      const events = [eventOf('challenge.approved', { subject }), eventOf('backup_code.used', { subject })];
      const challenge = await open({ subject });
      await stores.challenges.approve(approval(challenge, factorOf(), { proof, method: 'backup_code', events }));
      const told = await stores.audit.query({ realm: REALM, subject }, 10);
      expect(told.find(({ type }) => type === 'backup_code.used')?.facts).toEqual([{ key: 'codes_left', value: '9' }]);
      expect(told.find(({ type }) => type === 'challenge.approved')?.facts).toEqual([]);
    });

    it('approves until the last instant and refuses from the expiry on', async () => {
      const subject = person();
      const factor = await enrol(subject);
      const challenge = await open({ subject });
      const late = approval(challenge, factor, { now: challenge.expiresAt });
      expect(await stores.challenges.approve(late)).toMatchObject({
        outcome: 'ended',
        challenge: { state: 'EXPIRED' },
      });
      expect(await stores.factors.read(REALM, factor.id)).toMatchObject({ lastStep: 100 });
      const inTime = approval(challenge, factor, { now: challenge.expiresAt - 1 });
      expect((await stores.challenges.approve(inTime)).outcome).toBe('approved');
    });

    it('restores the failure budget, and turns the noted attempt into an approved one', async () => {
      const subject = person();
      const factor = await enrol(subject);
      const challenge = await open({ subject });
      const request = claimOf();
      const spend = { realm: REALM, subject, limits: LIMITS, now: T0 + 1_500, request };
      expect(await stores.attempts.spend(spend)).toMatchObject({ outcome: 'spent', attemptsLeft: 4 });
      expect(await stores.attempts.spend(spend)).toEqual({ outcome: 'repeat', approved: false, seed: request.seed });
      await stores.challenges.approve(approval(challenge, factor, { requestKey: request.key }));
      expect(await stores.attempts.read(REALM, subject)).toMatchObject({ recent: 0, consecutive: 0 });
      expect(await stores.attempts.spend(spend)).toEqual({ outcome: 'repeat', approved: true, seed: request.seed });
    });

    it('lets exactly one of approve and settle win', async () => {
      for (let round = 0; round < 5; round += 1) {
        const subject = person();
        const factor = await enrol(subject);
        const challenge = await open({ subject });
        const outcomes = await atOnce<{ readonly outcome: string }>(20, (index) =>
          index % 2 === round % 2
            ? stores.challenges.approve(approval(challenge, factor))
            : stores.challenges.settle(settling(challenge, 'DENIED')),
        );
        const counts = tally(outcomes);
        expect((counts['approved'] ?? 0) + (counts['settled'] ?? 0)).toBe(1);
        expect(counts['ended']).toBe(19);
        const ends = (await trailOf(stores, subject)).filter((type) => /approved|denied/.test(type));
        expect(ends).toHaveLength(1);
      }
    });

    it('stores nothing but EXPIRED once the time is up', async () => {
      const challenge = await open();
      expect(await stores.challenges.settle(settling(challenge, 'CANCELLED', challenge.expiresAt))).toMatchObject({
        outcome: 'ended',
        challenge: { state: 'EXPIRED' },
      });
      expect(await stores.challenges.due(challenge.expiresAt - 1, 1_000)).not.toContainEqual(challenge);
      expect(await stores.challenges.due(challenge.expiresAt, 1_000)).toContainEqual(challenge);
      expect(await stores.challenges.settle(settling(challenge, 'EXPIRED', challenge.expiresAt))).toMatchObject({
        outcome: 'settled',
        challenge: { state: 'EXPIRED', settledAt: challenge.expiresAt },
      });
      expect(await stores.challenges.due(challenge.expiresAt, 1_000)).not.toContainEqual(challenge);
    });

    it('collects what ended before, and keeps the rest and the freshly spent receipts', async () => {
      const [ended, alive] = [await open(), await open()];
      const receipt = { ...burnOf(), realm: REALM, now: T0, events: [] };
      await stores.challenges.burnReceipt(receipt);
      await stores.challenges.settle(settling(ended, 'DENIED', T0 + 5_000));
      await stores.challenges.purge(T0 + 5_000, 10_000);
      expect(await stores.challenges.read(REALM, ended.id)).toBeDefined();
      expect(await stores.challenges.purge(T0 + 5_001, 10_000)).toBeGreaterThan(0);
      expect(await stores.challenges.read(REALM, ended.id)).toBeUndefined();
      expect(await stores.challenges.read(REALM, alive.id)).toBeDefined();
      await stores.challenges.purge(receipt.expiresAt + 59 * MINUTE, 10_000);
      expect(await stores.challenges.burnReceipt(receipt)).toEqual({ outcome: 'spent' });
    });

    it('collects no more than it is told to', async () => {
      for (let index = 0; index < 3; index += 1) {
        const challenge = await open({ createdAt: T0 - 60 * MINUTE, expiresAt: T0 });
        await stores.challenges.settle(settling(challenge, 'DENIED', T0 - 30 * MINUTE));
      }
      expect(await stores.challenges.purge(T0 - 29 * MINUTE, 2)).toBe(2);
    });

    it('still knows everything after a restart', async () => {
      const subject = person();
      const factor = await enrol(subject);
      const challenge = await open({ subject });
      const command = approval(challenge, factor);
      const approved = await stores.challenges.approve(command);
      stores = await stores.restart();
      expect(approved.outcome === 'approved' && (await stores.challenges.read(REALM, challenge.id))).toEqual(
        approved.outcome === 'approved' && approved.challenge,
      );
      expect((await stores.challenges.approve(command)).outcome).toBe('ended');
      expect(await trailOf(stores, subject)).toContain('challenge.approved');
    });
  });
}
