import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PendingEnd } from '#src/adapters/shared/contract.ts';
import type { Session } from '#src/domain/session.ts';
import { HOUR, MINUTE } from '#src/domain/time.ts';
import type { Front, FrontFixture, MakeFront } from '../support/redis-front.ts';
import { eventOf, id, person, REALM, sessionOf, T0 } from '../support/store-samples.ts';

export function describePendingEnds(name: string, make: MakeFront): void {
  describe(`PendingEnds over ${name}`, () => {
    let fixture: FrontFixture;
    let here: Front;
    let there: Front;
    beforeAll(async () => {
      fixture = await make();
      [here, there] = [await fixture.sidecar(), await fixture.sidecar()];
    });
    afterAll(() => fixture.close());

    const endOf = (target: PendingEnd['target'], fields: Partial<PendingEnd> = {}): PendingEnd => ({
      id: id('event'),
      realm: REALM,
      target,
      reason: 'REVOKED',
      at: T0,
      event: eventOf('session.ended', { facts: { why: 'lost phone' } }),
      ...fields,
    });
    const byIds = (...sessions: readonly Session[]) =>
      endOf({ kind: 'ids', sessionIds: sessions.map((session) => session.id) });
    const ofPerson = (subject: string, exceptSessionId = '', fields: Partial<PendingEnd> = {}) =>
      endOf({ kind: 'subject', subject, exceptSessionId }, fields);
    const begun = (fields: Partial<Session> = {}) => sessionOf({ createdAt: T0 - HOUR, ...fields });
    const drain = async () => {
      for (;;) {
        const ends = await here.ends.list(100);
        for (const end of ends) await here.ends.remove(end);
        if (ends.length === 0) return;
      }
    };

    it('ends named sessions on every sidecar, and no others', async () => {
      const [one, two, other] = [begun(), begun(), begun()];
      await here.ends.add(byIds(one, two));
      expect(await there.ends.isEnded(one)).toBe(true);
      expect(await there.ends.isEnded(two)).toBe(true);
      expect(await there.ends.isEnded(other)).toBe(false);
      expect(await there.ends.isEnded({ ...one, realm: 'other' })).toBe(false);
    });

    it('ends a named session only for the person it is said to be of', async () => {
      const session = begun();
      await here.ends.add(endOf({ kind: 'ids', sessionIds: [session.id], subject: person() }));
      expect(await there.ends.isEnded(session)).toBe(false);
      await here.ends.add(endOf({ kind: 'ids', sessionIds: [session.id], subject: session.subject }));
      expect(await there.ends.isEnded(session)).toBe(true);
    });

    it('ends all sessions of a person that began before, but the excepted one', async () => {
      const subject = person();
      const [kept, gone, later] = [begun({ subject }), begun({ subject }), begun({ subject, createdAt: T0 + MINUTE })];
      await here.ends.add(ofPerson(subject, kept.id));
      expect(await there.ends.isEnded(gone)).toBe(true);
      expect(await there.ends.isEnded({ ...gone, createdAt: T0 })).toBe(true);
      expect(await there.ends.isEnded(kept)).toBe(false);
      expect(await there.ends.isEnded(later)).toBe(false);
      expect(await there.ends.isEnded({ ...gone, realm: 'other' })).toBe(false);
      expect(await there.ends.isEnded(begun())).toBe(false);
    });

    it('joins several ends of a person, in any order, to the strictest', async () => {
      const subject = person();
      const [first, second] = [begun({ subject }), begun({ subject })];
      await here.ends.add(ofPerson(subject, first.id));
      await there.ends.add(ofPerson(subject, second.id));
      expect(await here.ends.isEnded(first)).toBe(true);
      expect(await here.ends.isEnded(second)).toBe(true);
      const later = begun({ subject, createdAt: T0 + MINUTE });
      expect(await here.ends.isEnded(later)).toBe(false);
      await here.ends.add(ofPerson(subject, '', { at: T0 + HOUR }));
      await here.ends.add(ofPerson(subject, '', { at: T0 - HOUR }));
      expect(await there.ends.isEnded(later)).toBe(true);
    });

    it('has mercy on nobody when a person has too many exceptions', async () => {
      const subject = person();
      const sessions = Array.from({ length: 40 }, () => begun({ subject }));
      for (const { id: except } of sessions) await here.ends.add(ofPerson(subject, except));
      const ended = await Promise.all(sessions.map((session) => there.ends.isEnded(session)));
      expect(ended).not.toContain(false);
    });

    it('lists ends oldest first, whole, as often as they are added once', async () => {
      await drain();
      const ends = [3, 1, 2].map((minute) => ({ ...byIds(begun()), at: T0 + minute * MINUTE }));
      for (const end of ends) await here.ends.add(end);
      for (const end of ends) await there.ends.add(end);
      const [third, first, second] = ends;
      expect(await there.ends.list(10)).toEqual([first, second, third]);
      expect(await there.ends.list(2)).toEqual([first, second]);
    });

    it('forgets what is durable, and only that', async () => {
      await drain();
      const [one, two] = [byIds(begun()), ofPerson(person(), id('session'), { at: T0 + 1 })];
      await here.ends.add(one);
      await here.ends.add(two);
      await there.ends.remove(one);
      await there.ends.remove(one);
      expect(await here.ends.list(10)).toEqual([two]);
      await here.ends.remove(two);
      expect(await there.ends.list(10)).toEqual([]);
    });

    it('still holds a session ended for sidecars that have not heard of the durable end', async () => {
      const session = begun();
      const end = byIds(session);
      await here.ends.add(end);
      await here.ends.remove(end);
      expect(await there.ends.isEnded(session)).toBe(true);
    });

    it('takes many at once from many sidecars without losing one', async () => {
      await drain();
      const ends = Array.from({ length: 60 }, (_, i) => ({ ...byIds(begun()), at: T0 + i }));
      await Promise.all(ends.flatMap((end) => [here.ends.add(end), there.ends.add(end)]));
      expect((await here.ends.list(100)).map((end) => end.id)).toEqual(ends.map((end) => end.id));
    });
  });
}
