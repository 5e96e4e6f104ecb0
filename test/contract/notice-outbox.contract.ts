import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EventDraft } from '#src/domain/audit-event.ts';
import type { Factor } from '#src/domain/factor.ts';
import { MINUTE } from '#src/domain/time.ts';
import type { MakeStores, StoreFixture } from '../support/store-fixture.ts';
import {
  atOnce,
  beginOf,
  burnOf,
  bytes,
  confirmOf,
  deviceOf,
  eventOf,
  factorOf,
  LIMITS,
  person,
  REALM,
  T0,
} from '../support/store-samples.ts';

export function describeNoticeOutbox(name: string, make: MakeStores): void {
  describe(`NoticeOutbox over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    /** A change that has this event. */
    const change = async (event: EventDraft) => {
      const device = deviceOf({ subject: event.subject ?? '' });
      await stores.devices.trust({ device, maxDevices: 5, now: T0, events: [event] });
    };
    /** Takes everything there is and settles it. */
    const drain = async (now = T0 + 60 * MINUTE) => {
      const all = await stores.notices.lease(now, MINUTE, 1_000);
      await stores.notices.done(all.map(({ id }) => id));
      return all;
    };

    it('notes what people have to be told with the change, and nothing else', async () => {
      const subject = person();
      const event = eventOf('factor.removed', {
        subject,
        method: 'sms',
        facts: { codes_left: '1', note: 'ann called from +1 415 555 0132' },
        ipAddress: '203.0.113.9',
      });
      await change(event);
      await change(eventOf('device.used', { subject }));
      await change(eventOf('session.ended', { subject, reason: 'LOGOUT' }));
      const evicted = eventOf('session.ended', { subject, reason: 'EVICTED', at: T0 + 1 });
      await change(evicted);
      stores = await stores.restart();
      const notices = await drain();
      expect(notices).toEqual([
        {
          id: event.id,
          realm: REALM,
          subject,
          type: 'factor.removed',
          method: 'sms',
          at: T0,
          facts: { codes_left: '1' },
          tries: 1,
        },
        { id: evicted.id, realm: REALM, subject, type: 'session.ended', at: T0 + 1, facts: {}, tries: 1 },
      ]);
      expect(await drain()).toEqual([]);
    });

    it('keeps with a notice where the person was reached before the change took that number away', async () => {
      const enrol = async (subject: string, fields = {}, beginning = {}) => {
        const factor = factorOf({ subject, method: 'sms', sealedSecret: bytes(40), ...fields });
        expect(await stores.factors.begin(beginOf(factor, beginning))).toEqual({ outcome: 'begun' });
        const replacedEvents = [eventOf('factor.replaced', { subject })];
        expect((await stores.factors.confirm(confirmOf(factor, { replacedEvents }))).outcome).toBe('confirmed');
        return factor;
      };
      const remove = ({ id, subject }: Factor) =>
        stores.factors.remove({
          realm: REALM,
          subject,
          factorId: id,
          receipt: burnOf(),
          mustKeepOneOf: [],
          now: T0,
          events: [eventOf('factor.removed', { subject })],
        });
      const former = ({ id, sealedSecret }: Factor) => ({ factorId: id, sealedSecret });
      await drain();
      const subject = person();
      const old = await enrol(subject);
      const further = { firstOnly: false, receipt: burnOf() };
      const renewed = await enrol(subject, { replaces: old.id }, further);
      await remove(renewed);
      const told = (await drain()).map(({ type, formerNumber }) => [type, formerNumber]);
      expect(told.toSorted()).toEqual(
        [
          ['factor.enrolled', undefined],
          ['factor.enrolled', former(old)],
          ['factor.replaced', former(old)],
          ['factor.removed', former(renewed)],
        ].toSorted(),
      );
      const other = await enrol(person(), { method: 'totp' });
      const quiet = await enrol(person());
      const withdrawn = { realm: REALM, subject: quiet.subject, methods: ['sms'], events: [] } as const;
      await stores.factors.freeze({ ...withdrawn, reason: 'CONSENT_WITHDRAWN' });
      await drain();
      await remove(other);
      await remove(quiet);
      expect((await drain()).map(({ formerNumber }) => formerNumber)).toEqual([undefined, undefined]);
      const gone = await enrol(person());
      await drain();
      const reset = { realm: REALM, subject: gone.subject, pass: { digest: bytes(), expiresAt: T0 + MINUTE }, now: T0 };
      await stores.subjects.reset({ ...reset, events: [eventOf('subject.reset', { subject: gone.subject })] });
      expect(await drain()).toMatchObject([{ type: 'subject.reset', formerNumber: former(gone) }]);
    });

    it('notes nothing for a change that did not happen', async () => {
      const subject = person();
      const events = [eventOf('subject.unlocked', { subject }), eventOf('factor.removed', { subject })];
      expect(await stores.attempts.unlock(REALM, subject, events)).toEqual({ wasLocked: false });
      expect(await drain()).toEqual([]);
      await stores.attempts.spend({ realm: REALM, subject, limits: LIMITS, now: T0 });
      await stores.attempts.unlock(REALM, subject, events);
      expect((await drain()).map(({ type }) => type)).toEqual(['factor.removed']);
    });

    it('leases each notice to one of many that ask at once', async () => {
      const ids = await atOnce(40, async () => {
        const event = eventOf('factor.enrolled', { subject: person() });
        await change(event);
        return event.id;
      });
      const now = T0 + MINUTE;
      const leased = await atOnce(20, () => stores.notices.lease(now, MINUTE, 5));
      for (const batch of leased) expect(batch.length).toBeLessThanOrEqual(5);
      const taken = leased.flat().map(({ id }) => id);
      expect(taken.toSorted()).toEqual(ids.toSorted());
      expect(await stores.notices.lease(now + MINUTE - 1, MINUTE, 100)).toEqual([]);
      const again = await stores.notices.lease(now + MINUTE, MINUTE, 100);
      expect(again.map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
      expect(new Set(again.map(({ tries }) => tries))).toEqual(new Set([2]));
      expect(await stores.notices.done(ids)).toBe(ids.length);
      expect(await stores.notices.done(ids)).toBe(0);
      expect(await drain()).toEqual([]);
    });

    it('comes back with what is to be tried again, no sooner, and gives the oldest first', async () => {
      const [late, early] = [T0 + 20, T0 + 10].map((at) => eventOf('factor.removed', { subject: person(), at }));
      for (const event of [late, early]) if (event) await change(event);
      const now = T0 + MINUTE;
      const [first, second] = await stores.notices.lease(now, MINUTE, 10);
      expect([first?.id, second?.id]).toEqual([early?.id, late?.id]);
      await stores.notices.retry(early?.id ?? '', now + 10 * MINUTE);
      await stores.notices.done([late?.id ?? '']);
      expect(await stores.notices.lease(now + 10 * MINUTE - 1, MINUTE, 10)).toEqual([]);
      const due = await stores.notices.lease(now + 10 * MINUTE, MINUTE, 10);
      expect(due).toMatchObject([{ id: early?.id, tries: 2, at: T0 + 10 }]);
      await drain();
    });

    it('tells a person of the reset, and of the report that locked the account', async () => {
      const subject = person();
      const pass = { digest: bytes(), expiresAt: T0 + MINUTE };
      const word = { receiptId: `word ${subject}`, expiresAt: T0 + MINUTE };
      const locked = [eventOf('subject.reported_not_me', { subject })];
      await stores.attempts.lock({ realm: REALM, subject, word, now: T0, events: locked });
      const reset = [eventOf('subject.reset', { subject })];
      await stores.subjects.reset({ realm: REALM, subject, pass, now: T0, events: reset });
      const types = (await drain()).map(({ type }) => type).toSorted();
      expect(types).toEqual(['subject.reported_not_me', 'subject.reset']);
    });
  });
}
