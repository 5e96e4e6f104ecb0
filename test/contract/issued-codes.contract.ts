import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MakeStores, StoreFixture } from '../support/store-fixture.ts';
import { atOnce, bytes, id, issuedOf, person, REALM, T0 } from '../support/store-samples.ts';

export function describeIssuedCodes(name: string, make: MakeStores): void {
  describe(`IssuedCodes over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    const issue = async (fields = {}) => {
      const code = issuedOf({ subject: person(), bearerId: id('challenge'), ...fields });
      await stores.codes.issue(code);
      return code;
    };

    it('keeps the newest of each bearer and method, over a restart', async () => {
      const first = await issue({ sealed: bytes(20) });
      const push = { ...first, method: 'push' as const, digest: bytes() };
      const second = { ...first, digest: bytes(), sealed: bytes(30), issuedAt: T0 + 1, expiresAt: T0 + 99 };
      await stores.codes.issue(push);
      await stores.codes.issue(second);
      stores = await stores.restart();
      expect(await stores.codes.read(REALM, first.bearerId, 'sms', T0)).toEqual(second);
      expect(await stores.codes.read(REALM, first.bearerId, 'push', T0)).toEqual(push);
    });

    it('knows none whose time is up, of another realm, bearer or method', async () => {
      const code = await issue();
      expect(await stores.codes.read(REALM, code.bearerId, 'sms', code.expiresAt - 1)).toEqual(code);
      const { bearerId } = code;
      for (const [realm, bearer, method, now] of [
        [REALM, bearerId, 'sms', code.expiresAt],
        ['other', bearerId, 'sms', T0],
        [REALM, id('challenge'), 'sms', T0],
        [REALM, bearerId, 'webauthn', T0],
      ] as const) {
        expect(await stores.codes.read(realm, bearer, method, now)).toBeUndefined();
        expect(await stores.codes.take(realm, bearer, method, now)).toBeUndefined();
      }
      expect(await stores.codes.take(REALM, bearerId, 'sms', T0)).toEqual(code);
    });

    it('gives a nonce to one of 30 that take it at once', async () => {
      const code = await issue({ method: 'webauthn' });
      const taken = await atOnce(30, () => stores.codes.take(REALM, code.bearerId, 'webauthn', T0));
      expect(taken.filter((each) => each !== undefined)).toEqual([code]);
    });

    it('leaves one code when many are issued at once', async () => {
      const code = await issue();
      const digests = Array.from({ length: 20 }, () => bytes());
      await Promise.all(digests.map((digest) => stores.codes.issue({ ...code, digest })));
      const left = await stores.codes.read(REALM, code.bearerId, 'sms', T0);
      expect(digests).toContainEqual(left?.digest);
    });

    it('collects those whose time is up, and no others', async () => {
      const [old, young] = [await issue({ expiresAt: T0 - 5_000 }), await issue({ expiresAt: T0 - 4_000 })];
      expect(await stores.codes.purge(T0 - 4_000, 10)).toBe(1);
      expect(await stores.codes.read(REALM, old.bearerId, 'sms', T0 - 9_000)).toBeUndefined();
      expect(await stores.codes.read(REALM, young.bearerId, 'sms', T0 - 9_000)).toEqual(young);
      await issue({ expiresAt: T0 - 6_000 });
      await issue({ expiresAt: T0 - 6_000 });
      expect(await stores.codes.purge(T0 - 5_000, 1)).toBe(1);
      expect(await stores.codes.purge(T0 - 5_000, 5)).toBe(1);
    });
  });
}
