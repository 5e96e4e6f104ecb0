import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MINUTE } from '#src/domain/time.ts';
import { type MakeStores, type StoreFixture, trailOf } from '../support/store-fixture.ts';
import {
  atOnce,
  burnOf,
  claimOf,
  createOf,
  eventOf,
  person,
  REALM,
  sessionOf,
  T0,
  tally,
} from '../support/store-samples.ts';

export function describeReceiptBurning(name: string, make: MakeStores): void {
  describe(`ChallengeStore.burnReceipt over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    it('burns a receipt once out of 50 tries at once, and never after its expiry', async () => {
      const subject = person();
      const receipt = burnOf();
      const command = { ...receipt, realm: REALM, now: T0, events: [eventOf('receipt.redeemed', { subject })] };
      const outcomes = await atOnce(50, () => stores.challenges.burnReceipt(command));
      expect(tally(outcomes)).toEqual({ burned: 1, spent: 49 });
      expect(await trailOf(stores, subject)).toEqual(['receipt.redeemed']);
      const expired = { ...burnOf(), realm: REALM, now: T0 + 5 * MINUTE, events: [] };
      expect(await stores.challenges.burnReceipt(expired)).toEqual({ outcome: 'spent' });
    });

    it('answers a repeated redemption as the first one', async () => {
      const request = claimOf();
      const command = { ...burnOf(), realm: REALM, now: T0, request, events: [] };
      expect(await stores.challenges.burnReceipt(command)).toEqual({ outcome: 'burned' });
      expect(await stores.challenges.burnReceipt(command)).toEqual({ outcome: 'repeat', seed: request.seed });
      expect(await stores.challenges.burnReceipt({ ...command, request: claimOf() })).toEqual({ outcome: 'spent' });
    });

    it('lets one of a redemption and a change win', async () => {
      const subject = person();
      const receipt = burnOf();
      const redeem = { ...receipt, realm: REALM, now: T0, events: [] };
      const session = () => stores.sessions.create(createOf(sessionOf({ subject }), { receipt }));
      const outcomes = await atOnce<{ readonly outcome: string }>(20, (index) =>
        index % 2 === 0 ? session() : stores.challenges.burnReceipt(redeem),
      );
      const { created = 0, burned = 0 } = tally(outcomes);
      expect(created + burned).toBe(1);
    });

    it('still knows a spent receipt after a restart', async () => {
      const command = { ...burnOf(), realm: REALM, now: T0, events: [] };
      await stores.challenges.burnReceipt(command);
      stores = await stores.restart();
      expect(await stores.challenges.burnReceipt(command)).toEqual({ outcome: 'spent' });
    });
  });
}
