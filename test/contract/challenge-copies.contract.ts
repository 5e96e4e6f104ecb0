import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Challenge, ChallengeState } from '#src/domain/challenge.ts';
import { MINUTE } from '#src/domain/time.ts';
import type { Front, FrontFixture, MakeFront } from '../support/redis-front.ts';
import { challengeOf, id, REALM, T0 } from '../support/store-samples.ts';

export function describeChallengeCopies(name: string, make: MakeFront): void {
  describe(`ChallengeCopies over ${name}`, () => {
    let fixture: FrontFixture;
    let here: Front;
    let there: Front;
    beforeAll(async () => {
      fixture = await make();
      [here, there] = [await fixture.sidecar(), await fixture.sidecar()];
    });
    afterAll(() => fixture.close());

    const approved = (challenge: Challenge, settledAt = T0 + 5): Challenge => ({
      ...challenge,
      state: 'APPROVED',
      approvalReason: 'PROOF',
      provenMethod: 'totp',
      settledAt,
      receiptId: id('receipt'),
      receiptExpiresAt: T0 + MINUTE,
    });

    it('gives another sidecar the same challenge, details in their order', async () => {
      const challenge = challengeOf({
        action: {
          resource: 'accounts/42',
          action: 'transfer',
          details: new Map([
            ['to', 'Zoë'],
            ['amount', '9 €'],
            ['__proto__', 'x'],
          ]),
        },
      });
      await here.challenges.put(challenge);
      const found = await there.challenges.find(REALM, challenge.id);
      expect(found).toEqual(challenge);
      expect([...(found?.action.details ?? [])]).toEqual([...challenge.action.details]);
    });

    it('finds nothing under another id or realm', async () => {
      const challenge = challengeOf();
      await here.challenges.put(challenge);
      expect(await there.challenges.find(REALM, id('challenge'))).toBeUndefined();
      expect(await there.challenges.find('other', challenge.id)).toBeUndefined();
    });

    it.each<[first: ChallengeState, then: ChallengeState, kept: ChallengeState]>([
      ['PENDING', 'SEEN', 'SEEN'],
      ['SEEN', 'PENDING', 'SEEN'],
      ['SEEN', 'DELIVERED', 'SEEN'],
      ['PENDING', 'DENIED', 'DENIED'],
      ['DENIED', 'PENDING', 'DENIED'],
      ['EXPIRED', 'SEEN', 'EXPIRED'],
    ])('after %s and %s it is %s', async (first, then, kept) => {
      const challenge = challengeOf();
      const as = (state: ChallengeState): Challenge =>
        state === 'DENIED' || state === 'EXPIRED'
          ? { ...challenge, state, settledAt: T0 + 5 }
          : { ...challenge, state };
      await here.challenges.put(as(first));
      await there.challenges.put(as(then));
      expect((await here.challenges.find(REALM, challenge.id))?.state).toBe(kept);
    });

    it('lets the chosen method follow within one state', async () => {
      const challenge = challengeOf();
      await here.challenges.put(challenge);
      await here.challenges.put({ ...challenge, chosenMethod: 'totp' });
      expect((await there.challenges.find(REALM, challenge.id))?.chosenMethod).toBe('totp');
    });

    it('stays approved when open states arrive late, all at once', async () => {
      const challenge = challengeOf();
      const late = (['PENDING', 'DELIVERED', 'SEEN'] as const).map((state) => ({ ...challenge, state }));
      const all = [...late, approved(challenge), ...late];
      await Promise.all(all.map((one, i) => (i % 2 ? here : there).challenges.put(one)));
      const found = await there.challenges.find(REALM, challenge.id);
      expect(found).toMatchObject({ state: 'APPROVED', provenMethod: 'totp', settledAt: T0 + 5 });
    });

    it('is still there for a while after its time', async () => {
      const challenge = { ...approved(challengeOf()), expiresAt: T0 - MINUTE };
      await here.challenges.put(challenge);
      expect((await there.challenges.find(REALM, challenge.id))?.state).toBe('APPROVED');
    });
  });
}
