import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { MakeStores, StoreFixture } from '../support/store-fixture.ts';
import { atOnce, bytes, digest, T0 } from '../support/store-samples.ts';

export function describePushKeyStore(name: string, make: MakeStores): void {
  describe(`PushKeyStore over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    it('keeps the first of many keys for good, and gives it to all', async () => {
      expect(await stores.pushKeys.read()).toBeUndefined();
      const candidate = () => ({ publicKey: digest(), sealedPrivate: bytes(60), createdAt: T0 });
      const keys = await atOnce(20, () => stores.pushKeys.ensure(candidate()));
      const [key] = keys;
      expect(keys).toEqual(Array(20).fill(key));
      stores = await stores.restart();
      expect(await stores.pushKeys.read()).toEqual(key);
      expect(await stores.pushKeys.ensure(candidate())).toEqual(key);
    });
  });
}
