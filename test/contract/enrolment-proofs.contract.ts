import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Factor } from '#src/domain/factor.ts';
import { MINUTE } from '#src/domain/time.ts';
import type { BeginFactor } from '#src/ports/factor-store.ts';
import { type MakeStores, type StoreFixture, trailOf } from '../support/store-fixture.ts';
import {
  atOnce,
  beginOf,
  burnOf,
  bytes,
  codeSetOf,
  confirmOf,
  consentOf,
  deviceOf,
  eventOf,
  factorOf,
  issuedOf,
  person,
  REALM,
  T0,
  tally,
} from '../support/store-samples.ts';

/** What begins, confirms, freezes and ends factors of methods other than TOTP. */
export function describeEnrolmentProofs(name: string, make: MakeStores): void {
  describe(`Enrolment of every method over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    const begin = (factor: Factor, fields: Partial<BeginFactor> = {}) => stores.factors.begin(beginOf(factor, fields));
    /** An enrolment without a consent of its own. */
    const beginPlain = (factor: Factor) => {
      const { consent: _none, ...command } = beginOf(factor);
      return stores.factors.begin(command);
    };
    const pendingOf = async (fields: Partial<Factor> = {}) => {
      const factor = factorOf({ method: 'push', ...fields });
      expect(await begin(factor)).toEqual({ outcome: 'begun' });
      return factor;
    };
    const madeOf = (uniqueDigest = bytes()) => {
      return { kind: 'made', sealedSecret: bytes(48), uniqueDigest, signCount: 4 } as const;
    };
    const made = async (fields: Partial<Factor> = {}, proof = madeOf()) => {
      const factor = await pendingOf(fields);
      expect((await stores.factors.confirm(confirmOf(factor, { proof }))).outcome).toBe('confirmed');
      return factor;
    };
    const frozen = async (factor: Factor) => (await stores.factors.read(REALM, factor.id))?.freezeReason;

    it('asks for a consent that stands, given with it or before', async () => {
      const subject = person();
      expect(await beginPlain(factorOf({ subject }))).toEqual({ outcome: 'no_consent' });
      const other = { realm: REALM, subject, consent: consentOf({ method: 'sms' }), now: T0 };
      await stores.consents.record({ ...other, events: [], thawedEvents: [] });
      expect(await beginPlain(factorOf({ subject }))).toEqual({ outcome: 'no_consent' });
      expect(await begin(factorOf({ subject }))).toEqual({ outcome: 'begun' });
      expect(await beginPlain(factorOf({ subject }))).toEqual({ outcome: 'begun' });
      await stores.consents.withdraw({ ...other, method: 'totp', events: [], frozenEvents: [] });
      const receipt = burnOf();
      const { consent: _none, ...command } = beginOf(factorOf({ subject }), { receipt });
      expect(await stores.factors.begin(command)).toEqual({ outcome: 'no_consent' });
      // What is refused costs nothing.
      expect(await begin(factorOf({ subject }), { receipt })).toEqual({ outcome: 'begun' });
    });

    it('confirms by the code that was sent to this enrolment, once', async () => {
      const factor = await pendingOf({ method: 'sms' });
      const code = issuedOf({ subject: factor.subject, bearerId: factor.id, factorId: factor.id });
      await stores.codes.issue(code);
      const confirm = (digest: Uint8Array, now = T0 + 1_000) =>
        stores.factors.confirm(confirmOf(factor, { proof: { kind: 'issued', digest }, now }));
      expect(await confirm(bytes())).toEqual({ outcome: 'proof_spent' });
      expect(await confirm(code.digest, code.expiresAt)).toEqual({ outcome: 'proof_spent' });
      expect(await stores.factors.read(REALM, factor.id)).toMatchObject({ state: 'PENDING' });
      expect(tally(await atOnce(20, () => confirm(code.digest)))).toEqual({ confirmed: 1, already_active: 19 });
      expect(await stores.codes.read(REALM, factor.id, 'sms', T0)).toBeUndefined();
      const second = await pendingOf({ method: 'sms', subject: factor.subject });
      const again = confirmOf(second, { proof: { kind: 'issued', digest: code.digest } });
      expect(await stores.factors.confirm(again)).toEqual({ outcome: 'proof_spent' });
    });

    it('stores what the browser made with the confirmation', async () => {
      const proof = madeOf();
      const factor = await made({ method: 'webauthn' }, proof);
      const { sealedSecret, uniqueDigest, signCount } = proof;
      const stored = { state: 'ACTIVE', sealedSecret, uniqueDigest, signCount };
      stores = await stores.restart();
      expect(await stores.factors.read(REALM, factor.id)).toMatchObject(stored);
    });

    it('gives what only one may have to one of 20 people at once', async () => {
      const proof = madeOf();
      const factors = await atOnce(20, () => pendingOf());
      const outcomes = await Promise.all(
        factors.map((factor) => stores.factors.confirm(confirmOf(factor, { proof: { ...proof } }))),
      );
      expect(tally(outcomes)).toEqual({ confirmed: 1, taken: 19 });
      const late = factorOf({ method: 'push', uniqueDigest: proof.uniqueDigest });
      expect(await begin(late)).toEqual({ outcome: 'taken' });
      expect(await begin({ ...late, realm: 'other' })).toEqual({ outcome: 'begun' });
      expect(await begin(factorOf({ method: 'webauthn', uniqueDigest: proof.uniqueDigest }))).toEqual({
        outcome: 'begun',
      });
    });

    it('lets a replacement have what the factor had that goes, and forgets devices with it', async () => {
      const subject = person();
      const proof = madeOf();
      const old = await made({ subject }, proof);
      const trust = { device: deviceOf({ subject }), maxDevices: 5, now: T0, events: [] };
      await stores.devices.trust(trust);
      const next = await pendingOf({ subject, replaces: old.id, uniqueDigest: proof.uniqueDigest });
      const deviceEvents = [eventOf('device.revoked', { subject })];
      const confirmed = await stores.factors.confirm(confirmOf(next, { proof, deviceEvents }));
      expect(confirmed).toMatchObject({ outcome: 'confirmed', replaced: old.id });
      expect(await stores.devices.list(REALM, subject, T0)).toEqual([]);
      expect(await trailOf(stores, subject)).toContain('device.revoked');
    });

    it('forgets devices with a factor that is removed, and not with an enrolment that is given up', async () => {
      const subject = person();
      const [factor, pending] = [await made({ subject }), await pendingOf({ subject, method: 'totp' })];
      await stores.devices.trust({ device: deviceOf({ subject }), maxDevices: 5, now: T0, events: [] });
      const remove = ({ id: factorId }: Factor) =>
        stores.factors.remove({
          realm: REALM,
          subject,
          factorId,
          receipt: burnOf(),
          mustKeepOneOf: [],
          now: T0,
          events: [],
          deviceEvents: [eventOf('device.revoked', { subject })],
        });
      expect(await remove(pending)).toEqual({ outcome: 'removed' });
      expect(await stores.devices.list(REALM, subject, T0)).toHaveLength(1);
      expect(await remove(factor)).toEqual({ outcome: 'removed' });
      expect(await stores.devices.list(REALM, subject, T0)).toEqual([]);
      expect((await trailOf(stores, subject)).filter((type) => type === 'device.revoked')).toHaveLength(1);
    });

    it('freezes what is meant and nothing else, with one event for what changed', async () => {
      const subject = person();
      const [push, other, pending] = [await made({ subject }), await made(), await pendingOf({ subject })];
      const sms = await made({ subject, method: 'sms' });
      const events = () => [eventOf('factor.frozen', { subject })];
      const freeze = { realm: REALM, subject, methods: ['push', 'sms'], reason: 'ENDPOINT_GONE' } as const;
      expect(await stores.factors.freeze({ ...freeze, factorId: push.id, events: events() })).toBe(1);
      expect(await stores.factors.freeze({ ...freeze, factorId: push.id, events: events() })).toBe(0);
      expect(await Promise.all([push, sms, other, pending].map(frozen))).toEqual([
        'ENDPOINT_GONE',
        undefined,
        undefined,
        undefined,
      ]);
      expect(await stores.factors.freeze({ ...freeze, methods: [], events: events() })).toBe(0);
      expect(await stores.factors.freeze({ ...freeze, reason: 'NOT_ME', events: events() })).toBe(2);
      expect(await stores.factors.thaw({ ...freeze, events: [] })).toBe(0);
      expect(await stores.factors.thaw({ ...freeze, reason: 'NOT_ME', factorId: sms.id, events: [] })).toBe(1);
      expect(await Promise.all([push, sms].map(frozen))).toEqual(['NOT_ME', undefined]);
      expect((await trailOf(stores, subject)).filter((type) => type === 'factor.frozen')).toHaveLength(2);
    });

    it('asks a person who was reset for the pass, until the first factor is confirmed', async () => {
      const subject = person();
      const digest = bytes();
      const pass = { digest, expiresAt: T0 + 10 * MINUTE };
      await stores.subjects.reset({ realm: REALM, subject, pass, now: T0, events: [] });
      const first = (given?: Uint8Array, now = T0) =>
        begin(factorOf({ subject }), { firstOnly: true, now, ...(given && { pass: given }) });
      expect(await first()).toEqual({ outcome: 'pass_required' });
      expect(await first(bytes())).toEqual({ outcome: 'pass_wrong' });
      expect(await first(digest.subarray(1))).toEqual({ outcome: 'pass_wrong' });
      expect(await first(digest, pass.expiresAt)).toEqual({ outcome: 'pass_wrong' });
      expect(await stores.factors.list(REALM, subject, T0)).toEqual([]);
      expect(await first(digest)).toEqual({ outcome: 'begun' });
      expect(await stores.subjects.pass(REALM, subject)).toEqual(pass);
      const last = factorOf({ subject });
      expect(await begin(last, { firstOnly: true, pass: digest })).toEqual({ outcome: 'begun' });
      expect((await stores.factors.confirm(confirmOf(last, { backupCodes: codeSetOf(subject) }))).outcome).toBe(
        'confirmed',
      );
      expect(await stores.subjects.pass(REALM, subject)).toBeUndefined();
      expect(await first(digest)).toEqual({ outcome: 'not_first' });
    });

    it('takes a pass from nobody who was not reset', async () => {
      const begun = await begin(factorOf(), { firstOnly: true, pass: bytes() });
      expect(begun).toEqual({ outcome: 'pass_wrong' });
    });
  });
}
