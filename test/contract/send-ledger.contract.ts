import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SendLimit, SendRatio } from '#src/domain/send-window.ts';
import { HOUR, MINUTE } from '#src/domain/time.ts';
import type { ReserveSend } from '#src/ports/send-ledger.ts';
import { type MakeStores, type StoreFixture, trailOf } from '../support/store-fixture.ts';
import { atOnce, eventOf, id, person, REALM, T0, tally } from '../support/store-samples.ts';

export function describeSendLedger(name: string, make: MakeStores): void {
  describe(`SendLedger over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    const scope = () => `test:${id('code')}`;
    const limitOf = (fields: Partial<SendLimit> = {}): SendLimit => ({
      scope: scope(),
      name: 'per_person',
      max: 3,
      windowMs: 10 * MINUTE,
      ...fields,
    });
    const reserve = (limits: readonly SendLimit[], fields: Partial<ReserveSend> = {}) =>
      stores.ledger.reserve({ realm: REALM, limits, ratios: [], now: T0, events: [], ...fields });

    it('lets exactly three of 100 at once through, each with its event', async () => {
      const subject = person();
      const limits = [limitOf()];
      const outcomes = await atOnce(100, () => reserve(limits, { events: [eventOf('limit.hit', { subject })] }));
      expect(tally(outcomes)).toEqual({ reserved: 3, limited: 97 });
      expect(await trailOf(stores, subject)).toHaveLength(3);
      stores = await stores.restart();
      expect(await reserve(limits, { now: T0 + 4 * MINUTE })).toEqual({
        outcome: 'limited',
        name: 'per_person',
        retryAfterMs: 6 * MINUTE + 1,
      });
      expect(await reserve(limits, { now: T0 + 10 * MINUTE + 1 })).toEqual({ outcome: 'reserved' });
    });

    it('counts against every limit or none, and names the first that is reached', async () => {
      const [one, two] = [limitOf({ max: 1, name: 'one' }), limitOf({ max: 2, name: 'two' })];
      const other = limitOf({ name: 'other' });
      expect(await reserve([one, two])).toEqual({ outcome: 'reserved' });
      expect(await reserve([two, one, other])).toMatchObject({ outcome: 'limited', name: 'one' });
      expect(await reserve([two])).toEqual({ outcome: 'reserved' });
      expect(await reserve([other, two, one])).toMatchObject({ outcome: 'limited', name: 'two' });
      for (let sent = 0; sent < 3; sent += 1) expect(await reserve([other])).toEqual({ outcome: 'reserved' });
    });

    it('lets no two wait for one another, whatever order they name their scopes in', async () => {
      const shared = [limitOf({ max: 40 }), limitOf({ max: 40 }), limitOf({ max: 40 })];
      const outcomes = await atOnce(60, (index) => reserve(index % 2 === 0 ? shared : shared.toReversed()));
      expect(tally(outcomes)).toEqual({ reserved: 40, limited: 20 });
    });

    it('keeps realms apart', async () => {
      const limits = [limitOf({ max: 1 })];
      expect(await reserve(limits)).toEqual({ outcome: 'reserved' });
      expect(await reserve(limits, { realm: 'other' })).toEqual({ outcome: 'reserved' });
      expect(await reserve(limits)).toMatchObject({ outcome: 'limited' });
    });

    it('counts over all realms together what is bounded everywhere, and nothing else', async () => {
      const [phone, own] = [limitOf({ max: 3, name: 'phone', everywhere: true }), limitOf({ max: 50, name: 'own' })];
      const outcomes = await atOnce(60, (index) => reserve([own, phone], { realm: `tenant-${index % 3}` }));
      expect(tally(outcomes)).toEqual({ reserved: 3, limited: 57 });
      expect(await reserve([own, phone])).toMatchObject({ outcome: 'limited', name: 'phone' });
      for (let sent = 0; sent < 50; sent += 1) expect(await reserve([own])).toEqual({ outcome: 'reserved' });
      expect(await reserve([own])).toMatchObject({ outcome: 'limited', name: 'own' });
      expect(await reserve([phone], { now: T0 + 10 * MINUTE + 1 })).toEqual({ outcome: 'reserved' });
    });

    it('counts on when a clock was set back', async () => {
      const limits = [limitOf()];
      await reserve(limits, { now: T0 });
      const back = T0 - HOUR;
      expect(await reserve(limits, { now: back })).toEqual({ outcome: 'reserved' });
      expect(await reserve(limits, { now: back })).toEqual({ outcome: 'reserved' });
      expect(await reserve(limits, { now: back })).toMatchObject({ outcome: 'limited' });
      expect(await reserve(limits, { now: back + 10 * MINUTE + 1 })).toMatchObject({ outcome: 'limited' });
    });

    it('stops a scope of which too little comes, and goes on once enough was credited', async () => {
      const limit = limitOf({ max: 1_000, windowMs: HOUR });
      const ratio: SendRatio = {
        scope: limit.scope,
        name: 'unverified',
        minSends: 4,
        minShare: 0.5,
        windowMs: HOUR,
        graceMs: 2 * MINUTE,
      };
      const later = { ratios: [ratio], now: T0 + 5 * MINUTE };
      await atOnce(4, () => reserve([limit], { ratios: [ratio] }));
      expect(await reserve([limit], later)).toMatchObject({ outcome: 'limited', name: 'unverified' });
      await atOnce(2, () => stores.ledger.credit(REALM, [limit.scope, 'never used']));
      expect(await reserve([limit], later)).toEqual({ outcome: 'reserved' });
    });

    it('counts a scope that only a ratio has', async () => {
      const ratio = { scope: scope(), name: 'r', minSends: 2, minShare: 1, windowMs: HOUR, graceMs: 0 };
      await reserve([], { ratios: [ratio] });
      expect(await reserve([], { ratios: [ratio], now: T0 + MINUTE })).toEqual({ outcome: 'reserved' });
      expect(await reserve([], { ratios: [ratio], now: T0 + 2 * MINUTE })).toMatchObject({ name: 'r' });
    });

    it('refuses to count one scope in two ways', async () => {
      const limit = limitOf();
      await expect(reserve([limit, { ...limit, max: 9 }])).rejects.toThrow();
      const ratio = { scope: limit.scope, name: 'r', minSends: 2, minShare: 1, windowMs: HOUR, graceMs: 0 };
      await expect(reserve([limit], { ratios: [ratio] })).rejects.toThrow();
      expect(await reserve([limit])).toEqual({ outcome: 'reserved' });
    });

    it('begins anew for the scopes that are cleared', async () => {
      const [cleared, kept] = [limitOf({ max: 1 }), limitOf({ max: 1, name: 'kept' })];
      await reserve([cleared, kept]);
      await stores.ledger.clear(REALM, [cleared.scope, cleared.scope]);
      expect(await reserve([cleared])).toEqual({ outcome: 'reserved' });
      expect(await reserve([kept])).toMatchObject({ outcome: 'limited', name: 'kept' });
    });

    it('collects what can limit nobody any more, and nothing else', async () => {
      const limits = [limitOf({ max: 1 })];
      await reserve(limits, { now: T0 - 9 * HOUR });
      // Rows of other tests are of later.
      expect(await stores.ledger.purge(T0 - 9 * HOUR + 10 * MINUTE, 1_000)).toBe(0);
      expect(await reserve(limits, { now: T0 - 9 * HOUR + 10 * MINUTE })).toMatchObject({ outcome: 'limited' });
      expect(await stores.ledger.purge(T0 - 8 * HOUR, 1_000)).toBe(1);
    });
  });
}
