import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Consent, Factor } from '#src/domain/factor.ts';
import type { Method } from '#src/domain/method.ts';
import { type MakeStores, type StoreFixture, trailOf } from '../support/store-fixture.ts';
import {
  atOnce,
  beginOf,
  bytes,
  claimOf,
  confirmOf,
  consentOf,
  eventOf,
  factorOf,
  person,
  REALM,
  T0,
  tally,
} from '../support/store-samples.ts';

export function describeConsentStore(name: string, make: MakeStores): void {
  describe(`ConsentStore over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    const record = (subject: string, consent: Consent, fields = {}) =>
      stores.consents.record({
        realm: REALM,
        subject,
        consent,
        now: consent.grantedAt,
        events: [eventOf('consent.recorded', { subject })],
        thawedEvents: [eventOf('factor.thawed', { subject })],
        ...fields,
      });
    const withdraw = (subject: string, method: Method, now = T0 + 50, fields = {}) =>
      stores.consents.withdraw({
        realm: REALM,
        subject,
        method,
        now,
        events: [eventOf('consent.withdrawn', { subject })],
        frozenEvents: [eventOf('factor.frozen', { subject })],
        ...fields,
      });
    const enrol = async (subject: string, fields: Partial<Factor> = {}) => {
      const factor = factorOf({ subject, method: 'sms', ...fields });
      expect(await stores.factors.begin(beginOf(factor))).toEqual({ outcome: 'begun' });
      expect((await stores.factors.confirm(confirmOf(factor))).outcome).toBe('confirmed');
      return factor;
    };
    const reasonOf = async ({ id }: Factor) => (await stores.factors.read(REALM, id))?.freezeReason;

    it('keeps every consent with its address, and lets one of a method stand', async () => {
      const subject = person();
      const first = consentOf({ method: 'sms', sealedAddress: bytes(40) });
      const second = consentOf({ method: 'sms', grantedAt: T0 + 10, language: 'de' });
      const other = consentOf({ method: 'push', grantedAt: T0 + 20 });
      for (const consent of [first, second, other]) {
        expect(await record(subject, consent)).toEqual({ outcome: 'recorded', thawed: 0 });
      }
      stores = await stores.restart();
      const withdrawn = { ...first, withdrawnAt: T0 + 10 };
      expect(await stores.consents.list(REALM, subject)).toEqual([withdrawn, second, other]);
      expect(await stores.consents.list('other', subject)).toEqual([]);
      expect(await trailOf(stores, subject)).toEqual(Array(3).fill('consent.recorded'));
    });

    it('leaves one that stands when many are recorded at once', async () => {
      const subject = person();
      await atOnce(20, () => record(subject, consentOf({ method: 'sms' })));
      const all = await stores.consents.list(REALM, subject);
      expect(all).toHaveLength(20);
      expect(all.filter(({ withdrawnAt }) => withdrawnAt === undefined)).toHaveLength(1);
    });

    it('freezes the factors of a withdrawn method in the same step, and drops what is pending', async () => {
      const subject = person();
      const [sms, totp] = [await enrol(subject), await enrol(subject, { method: 'totp' })];
      const [pending, other] = [factorOf({ subject, method: 'sms' }), factorOf({ subject, method: 'push' })];
      for (const factor of [pending, other]) await stores.factors.begin(beginOf(factor));
      const outcomes = await atOnce(10, () => withdraw(subject, 'sms'));
      expect(tally(outcomes)).toEqual({ withdrawn: 1, none: 9 });
      expect(outcomes.find(({ outcome }) => outcome === 'withdrawn')).toMatchObject({
        frozen: 1,
        consent: { method: 'sms', withdrawnAt: T0 + 50 },
      });
      expect(await reasonOf(sms)).toBe('CONSENT_WITHDRAWN');
      expect(await reasonOf(totp)).toBeUndefined();
      expect(await stores.factors.read(REALM, pending.id)).toBeUndefined();
      expect(await stores.factors.read(REALM, other.id)).toEqual(other);
      const thaw = { realm: REALM, subject, methods: ['sms'], reason: 'CONSENT_WITHDRAWN', events: [] } as const;
      expect(await stores.factors.thaw(thaw)).toBe(0);
      expect(await reasonOf(sms)).toBe('CONSENT_WITHDRAWN');
      const types = await trailOf(stores, subject);
      expect(types.filter((type) => type === 'consent.withdrawn')).toHaveLength(1);
      expect(types.filter((type) => type === 'factor.frozen')).toHaveLength(1);
    });

    it('thaws with a new consent what the withdrawal froze, and nothing that the person reported', async () => {
      const subject = person();
      const [frozen, reported] = [await enrol(subject), await enrol(subject, { method: 'push' })];
      const methods = ['push'] as const;
      await withdraw(subject, 'sms');
      await withdraw(subject, 'push');
      await stores.factors.freeze({ realm: REALM, subject, methods, reason: 'NOT_ME', events: [] });
      expect(await record(subject, consentOf({ method: 'sms', grantedAt: T0 + 99 }))).toMatchObject({ thawed: 1 });
      expect(await record(subject, consentOf({ method: 'push', grantedAt: T0 + 99 }))).toMatchObject({ thawed: 0 });
      expect(await reasonOf(frozen)).toBeUndefined();
      expect(await reasonOf(reported)).toBe('NOT_ME');
      expect((await trailOf(stores, subject)).filter((type) => type === 'factor.thawed')).toHaveLength(1);
    });

    it('keeps a factor frozen for a missing consent when the report about it is settled', async () => {
      const subject = person();
      const factor = await enrol(subject);
      const report = { realm: REALM, subject, methods: ['sms'], reason: 'NOT_ME', events: [] } as const;
      await withdraw(subject, 'sms');
      expect(await stores.factors.freeze(report)).toBe(1);
      expect(await stores.factors.thaw(report)).toBe(0);
      expect(await reasonOf(factor)).toBe('CONSENT_WITHDRAWN');
      expect(await record(subject, consentOf({ method: 'sms', grantedAt: T0 + 99 }))).toMatchObject({ thawed: 1 });
    });

    it('answers a repeated request without doing it again, and stores none for a withdrawal of nothing', async () => {
      const subject = person();
      const [request, consent] = [claimOf(), consentOf({ method: 'sms' })];
      await record(subject, consent, { request });
      expect(await record(subject, consent, { request })).toEqual({ outcome: 'repeat', seed: request.seed });
      const leaving = claimOf();
      expect(await withdraw(person(), 'sms', T0, { request: leaving })).toEqual({ outcome: 'none' });
      expect(await withdraw(subject, 'sms', T0, { request: leaving })).toMatchObject({ outcome: 'withdrawn' });
      expect(await withdraw(subject, 'sms', T0, { request: leaving })).toMatchObject({ outcome: 'repeat' });
    });
  });
}
