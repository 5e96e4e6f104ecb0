import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Factor } from '#src/domain/factor.ts';
import type { ConfirmFactor, RemoveFactor } from '#src/ports/factor-store.ts';
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
  LIMITS,
  person,
  REALM,
  T0,
  tally,
} from '../support/store-samples.ts';

export function describeFactorStore(name: string, make: MakeStores): void {
  describe(`FactorStore over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    const begin = (factor: Factor, fields = {}) => stores.factors.begin(beginOf(factor, fields));
    const enrol = async (subject: string, fields: Partial<Factor> = {}, confirming: Partial<ConfirmFactor> = {}) => {
      const factor = factorOf({ subject, ...fields });
      expect(await begin(factor)).toEqual({ outcome: 'begun' });
      expect((await stores.factors.confirm(confirmOf(factor, confirming))).outcome).toBe('confirmed');
      return factor;
    };
    const removal = (factor: Factor, fields: Partial<RemoveFactor> = {}): RemoveFactor => ({
      realm: REALM,
      subject: factor.subject,
      factorId: factor.id,
      receipt: burnOf(),
      mustKeepOneOf: [],
      now: T0,
      events: [eventOf('factor.removed', { subject: factor.subject, factorId: factor.id })],
      ...fields,
    });

    it('begins and confirms an enrolment, with backup codes and their events', async () => {
      const subject = person();
      const factor = factorOf({ subject });
      await begin(factor);
      expect(await stores.factors.list(REALM, subject, T0)).toEqual([factor]);
      const backupCodes = codeSetOf(subject);
      const confirmed = await stores.factors.confirm(
        confirmOf(factor, { proof: { kind: 'totp', step: 7, driftSteps: -1 }, backupCodes }),
      );
      expect(confirmed).toEqual({
        outcome: 'confirmed',
        factor: { ...factor, state: 'ACTIVE', confirmedAt: T0 + 1_000, lastStep: 7, driftSteps: -1 },
        backupCodesStored: true,
        replaced: '',
      });
      expect(await stores.factors.list(REALM, subject, T0)).toMatchObject([
        { method: 'totp' },
        { method: 'backup_code', state: 'ACTIVE', codesLeft: 10 },
      ]);
      expect(await trailOf(stores, subject)).toEqual([
        'factor.enrollment_begun',
        'factor.enrolled',
        'backup_codes.generated',
      ]);
    });

    it('drops the older pending enrolment of the same method', async () => {
      const subject = person();
      const [first, second] = [factorOf({ subject }), factorOf({ subject })];
      await begin(first);
      await begin(second);
      expect(await stores.factors.list(REALM, subject, T0)).toEqual([second]);
      expect((await stores.factors.confirm(confirmOf(first))).outcome).toBe('missing');
    });

    it('lets an enrolment lapse at its exact instant', async () => {
      const factor = factorOf();
      await begin(factor);
      expect(await stores.factors.list(REALM, factor.subject, factor.expiresAt - 1)).toHaveLength(1);
      expect(await stores.factors.list(REALM, factor.subject, factor.expiresAt)).toHaveLength(0);
      const late = confirmOf(factor, { now: factor.expiresAt });
      expect(await stores.factors.confirm(late)).toEqual({ outcome: 'lapsed' });
    });

    it('confirms once, and only for the person it belongs to', async () => {
      const factor = factorOf();
      await begin(factor);
      const foreign = confirmOf(factor, { subject: person() });
      expect(await stores.factors.confirm(foreign)).toEqual({ outcome: 'missing' });
      const outcomes = await atOnce(20, () => stores.factors.confirm(confirmOf(factor)));
      expect(tally(outcomes)).toEqual({ confirmed: 1, already_active: 19 });
    });

    it('keeps the codes that a person has when a second factor is confirmed', async () => {
      const subject = person();
      await enrol(subject, {}, { backupCodes: codeSetOf(subject) });
      const second = factorOf({ subject });
      await begin(second);
      const confirmed = await stores.factors.confirm(confirmOf(second, { backupCodes: codeSetOf(subject) }));
      expect(confirmed).toMatchObject({ backupCodesStored: false });
    });

    it('ends every other pending enrolment with the first factor, and with no later one', async () => {
      const subject = person();
      const [mine, theirs] = [factorOf({ subject }), factorOf({ subject, method: 'sms' })];
      await begin(theirs);
      await begin(mine);
      expect((await stores.factors.confirm(confirmOf(mine))).outcome).toBe('confirmed');
      expect((await stores.factors.confirm(confirmOf(theirs))).outcome).toBe('missing');
      const [second, third] = [factorOf({ subject, method: 'push' }), factorOf({ subject, method: 'sms' })];
      for (const further of [second, third]) await begin(further, { firstOnly: false, receipt: burnOf() });
      for (const further of [second, third]) {
        expect((await stores.factors.confirm(confirmOf(further))).outcome).toBe('confirmed');
      }
    });

    it('takes over the request that its attempt noted, once, with a seed of its own', async () => {
      const factor = factorOf();
      await begin(factor);
      const noted = claimOf();
      const spend = { realm: REALM, subject: factor.subject, limits: LIMITS, now: T0, request: noted };
      await stores.attempts.spend(spend);
      const request = { ...noted, seed: Uint8Array.of(4, 5) };
      const other = { ...request, fingerprint: 'other' };
      expect(await stores.factors.confirm(confirmOf(factor, { request: other }))).toEqual({ outcome: 'reused' });
      expect((await stores.factors.confirm(confirmOf(factor, { request }))).outcome).toBe('confirmed');
      const again = confirmOf(factor, { request });
      expect(await stores.factors.confirm(again)).toEqual({ outcome: 'repeat', seed: request.seed });
      expect(await stores.attempts.spend(spend)).toEqual({ outcome: 'repeat', approved: true, seed: request.seed });
      expect(await stores.attempts.read(REALM, factor.subject)).toMatchObject({ consecutive: 0 });
    });

    it('lets a first enrolment through only while there is no active factor', async () => {
      const subject = person();
      await enrol(subject);
      expect(await begin(factorOf({ subject }), { firstOnly: true })).toEqual({ outcome: 'not_first' });
      expect(await begin(factorOf(), { firstOnly: true })).toEqual({ outcome: 'begun' });
    });

    it('counts factors against the bound, but neither the codes nor the one that is replaced', async () => {
      const subject = person();
      const first = await enrol(subject, {}, { backupCodes: codeSetOf(subject) });
      expect(await begin(factorOf({ subject }), { maxFactors: 1 })).toEqual({ outcome: 'too_many' });
      const replacing = factorOf({ subject, replaces: first.id });
      expect(await begin(replacing, { maxFactors: 1 })).toEqual({ outcome: 'begun' });
    });

    it('replaces a factor with the confirmation, not before', async () => {
      const subject = person();
      const old = await enrol(subject);
      const replacement = factorOf({ subject, replaces: old.id });
      await begin(replacement);
      expect(await stores.factors.read(REALM, old.id)).toMatchObject({ state: 'ACTIVE' });
      expect(await stores.factors.confirm(confirmOf(replacement))).toMatchObject({ replaced: old.id });
      expect(await stores.factors.read(REALM, old.id)).toBeUndefined();
      expect(await trailOf(stores, subject)).toContain('factor.replaced');
    });

    it('replaces no factor that is not an active one of the person', async () => {
      const foreign = await enrol(person());
      const replacement = factorOf({ replaces: foreign.id });
      expect(await begin(replacement)).toEqual({ outcome: 'replaces_missing' });
    });

    it('burns the receipt with the change, and changes nothing with a spent one', async () => {
      const subject = person();
      const receipt = burnOf();
      const outcomes = await atOnce(20, () => begin(factorOf({ subject }), { receipt }));
      expect(tally(outcomes)).toEqual({ begun: 1, receipt_spent: 19 });
      const redeem = { ...receipt, realm: REALM, now: T0, events: [] };
      expect(await stores.challenges.burnReceipt(redeem)).toEqual({ outcome: 'spent' });
      const active = await enrol(person());
      expect(await stores.factors.remove(removal(active, { receipt }))).toEqual({ outcome: 'receipt_spent' });
      expect(await stores.factors.read(REALM, active.id)).toBeDefined();
    });

    it('does not spend the receipt of a change that is refused', async () => {
      const subject = person();
      const factor = await enrol(subject);
      const receipt = burnOf();
      const refused = removal(factor, { receipt, mustKeepOneOf: ['totp'] });
      expect(await stores.factors.remove(refused)).toEqual({ outcome: 'last_factor' });
      expect(await stores.factors.remove(removal(factor, { receipt }))).toEqual({ outcome: 'removed' });
    });

    it('keeps one factor of the required methods, whoever removes at once', async () => {
      const subject = person();
      const factors = [await enrol(subject), await enrol(subject), await enrol(subject)];
      const outcomes = await Promise.all(
        factors.map((factor) => stores.factors.remove(removal(factor, { mustKeepOneOf: ['totp', 'webauthn'] }))),
      );
      expect(tally(outcomes)).toEqual({ removed: 2, last_factor: 1 });
    });

    it('does not count a frozen factor as one that remains', async () => {
      const subject = person();
      const frozen = await enrol(subject);
      const working = await enrol(subject, { method: 'webauthn' });
      const codes = { realm: REALM, subject, methods: ['totp'], reason: 'CONSENT_WITHDRAWN', events: [] } as const;
      expect(await stores.factors.freeze(codes)).toBe(1);
      const mustKeepOneOf = ['totp', 'webauthn'] as const;
      expect(await stores.factors.remove(removal(working, { mustKeepOneOf }))).toEqual({ outcome: 'last_factor' });
      expect(await stores.factors.remove(removal(frozen, { mustKeepOneOf }))).toEqual({ outcome: 'removed' });
    });

    it('leaves no receipt that was proven by a factor that was removed or replaced', async () => {
      const approvedBy = async (factor: Factor) => {
        const { subject, id: provenFactorId } = factor;
        const receipt = burnOf();
        const { receiptId, expiresAt: receiptExpiresAt } = receipt;
        const proof = { state: 'APPROVED', approvalReason: 'PROOF', provenMethod: 'totp', provenFactorId } as const;
        const challenge = challengeOf({ subject, ...proof, receiptId, receiptExpiresAt });
        await stores.challenges.open({ challenge, maxOpen: 9, events: [] });
        return receipt;
      };
      const redeem = (receipt: ReturnType<typeof burnOf>) =>
        stores.challenges.burnReceipt({ ...receipt, realm: REALM, now: T0, events: [] });
      const subject = person();
      const [first, second] = [await enrol(subject), await enrol(subject)];
      const [byFirst, bySecond] = [await approvedBy(first), await approvedBy(second)];
      await stores.factors.remove(removal(first));
      expect(await redeem(byFirst)).toEqual({ outcome: 'spent' });
      await enrol(subject, { replaces: second.id });
      expect(await redeem(bySecond)).toEqual({ outcome: 'spent' });
      const [kept, going] = [await enrol(subject), await enrol(subject)];
      const byKept = await approvedBy(kept);
      await stores.factors.remove(removal(going));
      expect(await redeem(byKept)).toEqual({ outcome: 'burned' });
    });

    it('ends enrolments that were begun while a factor was held that is removed or replaced', async () => {
      const subject = person();
      const [first, second] = [await enrol(subject), await enrol(subject)];
      const begun = async () => {
        const pending = factorOf({ subject, method: 'webauthn' });
        await begin(pending, { firstOnly: false, receipt: burnOf() });
        return pending;
      };
      const beforeRemoval = await begun();
      await stores.factors.remove(removal(first));
      expect((await stores.factors.confirm(confirmOf(beforeRemoval))).outcome).toBe('missing');
      const replacing = factorOf({ subject, replaces: second.id });
      await begin(replacing, { firstOnly: false, receipt: burnOf() });
      const beforeReplacement = await begun();
      expect((await stores.factors.confirm(confirmOf(replacing))).outcome).toBe('confirmed');
      expect((await stores.factors.confirm(confirmOf(beforeReplacement))).outcome).toBe('missing');
    });

    it('collects enrolments that lapsed, and nothing that is in use or can be confirmed', async () => {
      const subject = person();
      const active = await enrol(subject);
      const lapsed = factorOf({ subject, method: 'sms', expiresAt: T0 + 1 });
      const pending = factorOf({ subject, method: 'webauthn', expiresAt: T0 + 2 });
      for (const factor of [lapsed, pending]) await begin(factor, { firstOnly: false, receipt: burnOf() });
      await stores.factors.purge(T0 + 2, 500);
      expect(await stores.factors.read(REALM, lapsed.id)).toBeUndefined();
      expect(await stores.factors.read(REALM, pending.id)).toMatchObject({ state: 'PENDING' });
      expect(await stores.factors.read(REALM, active.id)).toMatchObject({ state: 'ACTIVE' });
      const many = await atOnce(5, async () => await begin(factorOf({ expiresAt: T0 + 1 })));
      expect(tally(many)).toEqual({ begun: 5 });
      expect(await stores.factors.purge(T0 + 2, 3)).toBe(3);
      expect(await stores.factors.purge(T0 + 2, 3)).toBe(2);
    });

    it('drops the backup codes with the last other factor', async () => {
      const subject = person();
      const first = await enrol(subject, {}, { backupCodes: codeSetOf(subject) });
      const second = await enrol(subject);
      await stores.factors.remove(removal(first));
      expect(await stores.factors.list(REALM, subject, T0)).toHaveLength(2);
      const keepsCodes = removal(second, { mustKeepOneOf: ['backup_code'] });
      expect(await stores.factors.remove(keepsCodes)).toEqual({ outcome: 'last_factor' });
      await stores.factors.remove(removal(second));
      expect(await stores.factors.list(REALM, subject, T0)).toEqual([]);
      expect(await stores.factors.findBackupCode(REALM, subject, 's1')).toBeUndefined();
    });

    it("does not remove another person's factor", async () => {
      const factor = await enrol(person());
      expect(await stores.factors.remove(removal(factor, { subject: person() }))).toEqual({ outcome: 'missing' });
    });

    it('voids the older codes with a new set', async () => {
      const subject = person();
      await enrol(subject, {}, { backupCodes: codeSetOf(subject) });
      const old = await stores.factors.findBackupCode(REALM, subject, 's0');
      const set = codeSetOf(subject);
      const command = {
        realm: REALM,
        subject,
        set,
        receipt: burnOf(),
        now: T0,
        request: claimOf(),
        events: [eventOf('backup_codes.regenerated', { subject })],
      };
      expect(await stores.factors.replaceBackupCodes(command)).toEqual({ outcome: 'replaced' });
      const found = await stores.factors.findBackupCode(REALM, subject, 's0');
      expect(found).toEqual({ ...set.codes[0], factorId: set.factor.id });
      expect(found?.id).not.toBe(old?.id);
      expect((await stores.factors.replaceBackupCodes(command)).outcome).toBe('repeat');
      const spent = { ...command, request: claimOf(), set: codeSetOf(subject) };
      expect(await stores.factors.replaceBackupCodes(spent)).toEqual({ outcome: 'receipt_spent' });
      expect(await stores.factors.findBackupCode(REALM, subject, 's0')).toEqual(found);
    });

    it('still knows everything after a restart', async () => {
      const subject = person();
      const factor = await enrol(subject, {}, { backupCodes: codeSetOf(subject) });
      const before = await stores.factors.list(REALM, subject, T0);
      stores = await stores.restart();
      expect(await stores.factors.list(REALM, subject, T0)).toEqual(before);
      expect(await stores.factors.read('other', factor.id)).toBeUndefined();
    });
  });
}
