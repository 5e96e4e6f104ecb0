import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EndNews } from '#src/adapters/shared/contract.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import { eventually } from '../support/eventually.ts';
import type { Front, FrontFixture, MakeFront } from '../support/redis-front.ts';
import { challengeOf, id, person, REALM, T0 } from '../support/store-samples.ts';

export function describeNews(name: string, make: MakeFront): void {
  describe(`News over ${name}`, () => {
    let fixture: FrontFixture;
    let here: Front;
    let there: Front;
    let elsewhere: Front;
    beforeAll(async () => {
      fixture = await make();
      [here, there] = [await fixture.sidecar(), await fixture.sidecar([REALM, 'second'])];
      elsewhere = await fixture.sidecar(['second']);
      await eventually('connected', () => [here, there, elsewhere].every(({ news }) => news.connected));
    });
    afterAll(() => fixture.close());

    const endOf = (fields: Partial<EndNews> = {}): EndNews => ({
      realm: REALM,
      sessionId: id('session'),
      subject: person(),
      reason: 'REVOKED',
      endedAt: T0,
      ...fields,
    });
    const heard = (front: Front) => {
      const ends: EndNews[] = [];
      const stop = front.news.onSessionsEnded((news) => ends.push(...news));
      return { ends, [Symbol.dispose]: stop };
    };

    it('tells the other sidecars of ended sessions, each of those of its realms', async () => {
      using own = heard(here);
      using both = heard(there);
      using second = heard(elsewhere);
      const [one, two, three] = [endOf(), endOf({ realm: 'second' }), endOf({ sessionId: '', pending: true })];
      await here.news.sessionsEnded([one, two, three]);
      await eventually('told', () => both.ends.length === 3 && second.ends.length === 1);
      expect(both.ends).toEqual(expect.arrayContaining([one, two, three]));
      expect(second.ends).toEqual([two]);
      expect(own.ends).toEqual([]);
    });

    it('tells of a great many ends, all of them, once', async () => {
      using both = heard(there);
      const ends = Array.from({ length: 1_700 }, () => endOf());
      await here.news.sessionsEnded(ends);
      await eventually('told', () => both.ends.length >= ends.length);
      expect(new Set(both.ends.map(({ sessionId }) => sessionId))).toEqual(
        new Set(ends.map(({ sessionId }) => sessionId)),
      );
      expect(both.ends).toHaveLength(ends.length);
    });

    it('tells of other changes with their time', async () => {
      const changes: unknown[] = [];
      const stop = there.news.onSessionsChanged((ids, at) => changes.push([ids, at]));
      await here.news.sessionsChanged(REALM, ['ses_1', 'ses_2'], T0 + 9);
      await eventually('told', () => changes.length > 0);
      expect(changes).toEqual([[['ses_1', 'ses_2'], T0 + 9]]);
      stop();
    });

    it('tells those who follow a challenge, and nobody else, from the moment the promise resolved', async () => {
      const [followed, other] = [challengeOf(), challengeOf()];
      const told: Challenge[] = [];
      const strays: Challenge[] = [];
      const stop = await there.news.followChallenge(followed.id, (challenge) => told.push(challenge));
      const stopOther = await elsewhere.news.followChallenge(other.id, (challenge) => strays.push(challenge));
      const settled: Challenge = { ...followed, state: 'DENIED', settledAt: T0 + 1 };
      await here.news.challengeChanged(settled);
      await eventually('told', () => told.length > 0);
      expect(told).toEqual([settled]);
      await here.news.challengeChanged(other);
      await eventually('told', () => strays.length > 0);
      expect(strays).toEqual([other]);
      expect(told).toHaveLength(1);
      stop();
      stopOther();
    });

    it('tells every follower of one challenge, and goes on when one of them leaves', async () => {
      const challenge = challengeOf();
      const counts = [0, 0];
      const stops = await Promise.all(
        counts.map((_, i) => there.news.followChallenge(challenge.id, () => (counts[i] = (counts[i] ?? 0) + 1))),
      );
      await here.news.challengeChanged(challenge);
      await eventually('told', () => counts.every((count) => count === 1));
      stops[0]?.();
      stops[0]?.();
      await here.news.challengeChanged(challenge);
      await eventually('told', () => counts[1] === 2);
      expect(counts).toEqual([1, 2]);
      stops[1]?.();
    });

    it('follows a challenge again that was left a moment ago', async () => {
      const challenge = challengeOf();
      const told: Challenge[] = [];
      for (let round = 0; round < 5; round++) {
        const stop = await there.news.followChallenge(challenge.id, (one) => told.push(one));
        if (round < 4) stop();
      }
      await here.news.challengeChanged(challenge);
      await eventually('told', () => told.length > 0);
      expect(told).toEqual([challenge]);
    });

    it('does not tell a follower what its own sidecar said', async () => {
      const challenge = challengeOf();
      const told: string[] = [];
      await here.news.followChallenge(challenge.id, () => told.push('own'));
      await there.news.followChallenge(challenge.id, () => told.push('other'));
      await here.news.challengeChanged(challenge);
      await eventually('told', () => told.length > 0);
      await there.news.challengeChanged(challenge);
      await eventually('told', () => told.length > 1);
      expect(told).toEqual(['other', 'own']);
    });

    it('keeps news from nobody because one listener fails', async () => {
      const stop = there.news.onSessionsEnded(() => {
        throw new Error('a listener of the test');
      });
      using both = heard(there);
      await here.news.sessionsEnded([endOf()]);
      await eventually('told', () => both.ends.length === 1);
      stop();
    });
  });
}
