import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Challenge, Delivery } from '#src/domain/challenge.ts';
import { type MakeStores, type StoreFixture, trailOf } from '../support/store-fixture.ts';
import { atOnce, challengeOf, eventOf, id, person, REALM, T0, tally } from '../support/store-samples.ts';

/** What is noted of messages and notifications of a challenge. */
export function describeDeliveries(name: string, make: MakeStores): void {
  describe(`Deliveries over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    const open = async (fields: Partial<Challenge> = {}) => {
      const challenge = challengeOf(fields);
      await stores.challenges.open({ challenge, maxOpen: 50, events: [] });
      return challenge;
    };
    const deliveryOf = (fields: Partial<Delivery> = {}): Delivery => ({
      id: id('delivery'),
      method: 'sms',
      factorId: 'fac_1',
      status: 'QUEUED',
      reason: '',
      resendable: false,
      at: T0 + 1,
      ...fields,
    });
    const note = ({ id: challengeId, subject }: Challenge, delivery: Delivery, now = T0 + 2) =>
      stores.challenges.noteDelivery({
        realm: REALM,
        challengeId,
        delivery,
        now,
        events: [eventOf('challenge.delivered', { subject, challengeId })],
      });

    it('keeps the language of a challenge, and what was sent, over a restart', async () => {
      const challenge = await open({ language: 'pt-BR' });
      const delivery = deliveryOf({ status: 'FAILED', reason: 'UNREACHABLE', resendable: true });
      await note(challenge, delivery);
      stores = await stores.restart();
      expect(await stores.challenges.read(REALM, challenge.id)).toEqual({ ...challenge, delivery });
    });

    it('follows a delivery forward, with one event each, and never back', async () => {
      const challenge = await open();
      const queued = deliveryOf();
      for (const status of ['QUEUED', 'UNKNOWN', 'SENT', 'FAILED', 'DELIVERED'] as const) {
        expect(await note(challenge, { ...queued, status })).toMatchObject({ outcome: 'noted' });
        expect(await note(challenge, { ...queued, status })).toMatchObject({ outcome: 'unchanged' });
        expect(await note(challenge, queued)).toMatchObject({
          outcome: 'unchanged',
          challenge: { delivery: { status } },
        });
      }
      expect(await trailOf(stores, challenge.subject)).toEqual(Array(5).fill('challenge.delivered'));
    });

    it('moves the challenge when it was sent, and not when it waits or failed', async () => {
      const challenge = await open();
      const delivery = deliveryOf();
      await note(challenge, delivery);
      await note(challenge, { ...delivery, status: 'UNKNOWN' });
      expect(await stores.challenges.read(REALM, challenge.id)).toMatchObject({ state: 'PENDING' });
      expect(await note(challenge, { ...delivery, status: 'SENT' })).toMatchObject({
        challenge: { state: 'DELIVERED' },
      });
      const seen = await open();
      await stores.challenges.advance({ realm: REALM, challengeId: seen.id, to: 'SEEN', now: T0 + 1 });
      expect(await note(seen, deliveryOf({ status: 'DELIVERED' }))).toMatchObject({ challenge: { state: 'SEEN' } });
    });

    it('takes late word of an older delivery for nothing', async () => {
      const challenge = await open();
      const [first, second] = [deliveryOf(), deliveryOf()];
      await note(challenge, first);
      await note(challenge, second);
      for (const status of ['SENT', 'FAILED', 'DELIVERED'] as const) {
        expect(await note(challenge, { ...first, status })).toMatchObject({
          outcome: 'unchanged',
          challenge: { state: 'PENDING', delivery: second },
        });
      }
    });

    it('notes nothing for a challenge that has ended, is over, is unknown or is of another realm', async () => {
      const ended = await open();
      await stores.challenges.settle({ realm: REALM, challengeId: ended.id, to: 'CANCELLED', now: T0 + 1, events: [] });
      expect(await note(ended, deliveryOf())).toMatchObject({
        outcome: 'unchanged',
        challenge: { state: 'CANCELLED' },
      });
      const over = await open();
      expect(await note(over, deliveryOf(), over.expiresAt)).toMatchObject({
        outcome: 'unchanged',
        challenge: { state: 'EXPIRED' },
      });
      expect(await stores.challenges.read(REALM, over.id)).not.toHaveProperty('delivery');
      const command = { challengeId: over.id, delivery: deliveryOf(), now: T0, events: [] };
      expect(await stores.challenges.noteDelivery({ ...command, realm: 'other' })).toEqual({ outcome: 'missing' });
      expect(await stores.challenges.noteDelivery({ ...command, realm: REALM, challengeId: 'x' })).toEqual({
        outcome: 'missing',
      });
    });

    it('notes each of many words at once that says more, and ends with what says most', async () => {
      const challenge = await open();
      const delivery = deliveryOf();
      await note(challenge, delivery);
      const statuses = ['UNKNOWN', 'SENT', 'FAILED', 'DELIVERED'] as const;
      const outcomes = await atOnce(40, (index) =>
        note(challenge, { ...delivery, status: statuses[index % 4] ?? 'SENT' }),
      );
      expect(await stores.challenges.read(REALM, challenge.id)).toMatchObject({ delivery: { status: 'DELIVERED' } });
      const { noted = 0 } = tally(outcomes);
      expect(noted).toBeLessThanOrEqual(4);
      expect(await trailOf(stores, challenge.subject)).toHaveLength(1 + noted);
    });

    it("lists a person's open challenges of a method, and no others", async () => {
      const subject = person();
      const chosen = async (method: 'push' | 'sms', fields: Partial<Challenge> = {}) => {
        const challenge = await open({ subject, ...fields });
        const at = { realm: REALM, challengeId: challenge.id, now: T0 + 1 };
        await stores.challenges.advance({ ...at, to: 'DELIVERED', chosenMethod: method });
        return challenge;
      };
      const [first, second] = [await chosen('push'), await chosen('push', { createdAt: T0 + 1 })];
      const ended = await chosen('push');
      await stores.challenges.settle({ realm: REALM, challengeId: ended.id, to: 'DENIED', now: T0 + 1, events: [] });
      await chosen('sms');
      await chosen('push', { subject: person() });
      await open({ subject });
      const ids = async (now: number) =>
        (await stores.challenges.openOf(REALM, subject, 'push', now)).map((challenge) => challenge.id);
      expect(await ids(T0 + 2)).toEqual([first.id, second.id]);
      expect(await ids(first.expiresAt)).toEqual([]);
      expect(await stores.challenges.openOf('other', subject, 'push', T0 + 2)).toEqual([]);
    });
  });
}
