import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HOUR } from '#src/domain/time.ts';
import type { Front, FrontFixture, MakeFront } from '../support/redis-front.ts';
import { digest, REALM, sessionOf, T0 } from '../support/store-samples.ts';

export function describeSessionCopies(name: string, make: MakeFront): void {
  describe(`SessionCopies over ${name}`, () => {
    let fixture: FrontFixture;
    let here: Front;
    let there: Front;
    beforeAll(async () => {
      fixture = await make();
      [here, there] = [await fixture.sidecar(), await fixture.sidecar()];
    });
    afterAll(() => fixture.close());

    it('gives another sidecar the same session and place in the log', async () => {
      const session = sessionOf({
        mfaAt: T0,
        labels: { app: 'ünïcode', ['__proto__']: 'kept' },
        risk: { stepUpRequired: true, changes: ['network'] },
      });
      await here.sessions.put({ session, position: 7, mark: 0xdead_beef });
      const found = await there.sessions.find(REALM, session.tokenDigest);
      expect(found).toEqual({ session, position: 7, mark: 0xdead_beef });
    });

    it('finds nothing under another digest or realm', async () => {
      const session = sessionOf();
      await here.sessions.put({ session, position: 1, mark: 1 });
      expect(await here.sessions.find(REALM, digest())).toBeUndefined();
      expect(await here.sessions.find('other', session.tokenDigest)).toBeUndefined();
    });

    it('keeps the newer copy whatever the order of arrival', async () => {
      const session = sessionOf();
      const at = (position: number, acr: string) => ({ session: { ...session, acr }, position, mark: position });
      await here.sessions.put(at(10, 'tenth'));
      await there.sessions.put(at(9, 'ninth'));
      expect((await here.sessions.find(REALM, session.tokenDigest))?.session.acr).toBe('tenth');
      await there.sessions.put(at(100, 'hundredth'));
      await here.sessions.put(at(11, 'eleventh'));
      expect((await there.sessions.find(REALM, session.tokenDigest))?.session.acr).toBe('hundredth');
      await here.sessions.put(at(Number.MAX_SAFE_INTEGER, 'last'));
      expect((await there.sessions.find(REALM, session.tokenDigest))?.position).toBe(Number.MAX_SAFE_INTEGER);
    });

    it('keeps the newest of many that are put at once', async () => {
      const session = sessionOf();
      const positions = [5, 1, 9, 3, 30, 12, 7, 29, 2];
      await Promise.all(
        positions.map((position, i) => (i % 2 ? here : there).sessions.put({ session, position, mark: 0 })),
      );
      expect((await here.sessions.find(REALM, session.tokenDigest))?.position).toBe(30);
    });

    it('replaces a copy of the same position, which is as true', async () => {
      const session = sessionOf();
      await here.sessions.put({ session, position: 4, mark: 1 });
      await here.sessions.put({ session: { ...session, lastUsedAt: T0 + 5 }, position: 4, mark: 1 });
      expect((await here.sessions.find(REALM, session.tokenDigest))?.session.lastUsedAt).toBe(T0 + 5);
    });

    it('keeps ended sessions as such, and none whose time is up', async () => {
      const ended = sessionOf({ endedAt: T0, endReason: 'REVOKED' });
      await here.sessions.put({ session: ended, position: 1, mark: 1 });
      expect((await there.sessions.find(REALM, ended.tokenDigest))?.session.endReason).toBe('REVOKED');
      const over = sessionOf({ createdAt: T0 - HOUR, expiresAt: T0 });
      await here.sessions.put({ session: over, position: 1, mark: 1 });
      expect(await there.sessions.find(REALM, over.tokenDigest)).toBeUndefined();
    });

    it('drops many at once, and what is not there', async () => {
      const sessions = Array.from({ length: 120 }, () => sessionOf());
      await Promise.all(sessions.map((session) => here.sessions.put({ session, position: 1, mark: 1 })));
      const digests = sessions.map(({ tokenDigest }) => tokenDigest);
      await there.sessions.drop(REALM, [...digests.slice(1), digest()]);
      const found = await Promise.all(digests.map((one) => here.sessions.find(REALM, one)));
      expect(found.map((copy) => copy !== undefined)).toEqual([true, ...Array(119).fill(false)]);
      await there.sessions.drop(REALM, []);
    });
  });
}
