import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SigningKey } from '#src/ports/signing-key-store.ts';
import type { MakeStores, StoreFixture } from '../support/store-fixture.ts';
import { atOnce, eventOf, id, T0 } from '../support/store-samples.ts';

export function describeSigningKeyStore(name: string, make: MakeStores): void {
  describe(`SigningKeyStore over ${name}`, () => {
    let stores: StoreFixture;
    beforeAll(async () => {
      stores = await make();
    });
    afterAll(() => stores.close());

    const candidate = (): SigningKey => ({
      id: id('key'),
      publicJwk: '{"kty":"OKP"}',
      sealedPrivate: Uint8Array.of(1, 2),
      createdAt: T0,
    });

    it('keeps the first of many candidates, gives it to all, and records one event', async () => {
      const events = [eventOf('key.created', { realm: '' })];
      const keys = await atOnce(20, () => stores.signingKeys.ensure('receipt', candidate(), events));
      expect(new Set(keys.map((key) => key.id)).size).toBe(1);
      expect(await stores.signingKeys.list('receipt')).toEqual([keys[0]]);
      const created = await stores.audit.query({ types: ['key.created'] }, 50);
      expect(created.filter((event) => event.id === events[0]?.id)).toHaveLength(1);
    });

    it('keeps uses apart, and still has the key after a restart', async () => {
      const receipt = await stores.signingKeys.ensure('receipt', candidate(), []);
      const checkpoint = await stores.signingKeys.ensure('checkpoint', candidate(), []);
      expect(checkpoint.id).not.toBe(receipt.id);
      stores = await stores.restart();
      expect(await stores.signingKeys.ensure('receipt', candidate(), [])).toEqual(receipt);
      expect(await stores.signingKeys.list('checkpoint')).toEqual([checkpoint]);
    });
  });
}
