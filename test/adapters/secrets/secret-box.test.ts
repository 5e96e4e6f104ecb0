import { createDecipheriv } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createKeyRing, deriveKey, rotateKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { systemRandom } from '#src/adapters/system.ts';
import { Fault } from '#src/domain/faults.ts';
import type { Binding } from '#src/ports/runtime.ts';

const ring = createKeyRing(systemRandom);
const box = new AesGcmSecretBox({ ring, random: systemRandom });
const binding: Binding = { purpose: 'factor.secret', realm: 'shop', subject: 'ada', id: 'fac_1' };
const secret = new TextEncoder().encode('twenty bytes of seed');

function refusal(sealed: Uint8Array, as: Binding, opener = box): unknown {
  try {
    return opener.open(sealed, as);
  } catch (error) {
    return error;
  }
}

describe('the secret box', () => {
  it('opens what it sealed, also empty values and in another instance from the same data', () => {
    expect(box.open(box.seal(secret, binding), binding)).toEqual(secret);
    expect(box.open(box.seal(new Uint8Array(), binding), binding)).toEqual(new Uint8Array());
    const copy = new AesGcmSecretBox({ ring: structuredClone(ring), random: systemRandom });
    expect(copy.open(box.seal(secret, binding), binding)).toEqual(secret);
  });

  it('opens a value that a database hands back as a slice of a larger buffer', () => {
    const sealed = box.seal(secret, binding);
    const page = Buffer.alloc(sealed.length + 7);
    page.set(sealed, 7);
    expect(box.open(page.subarray(7), binding)).toEqual(secret);
  });

  it.each([
    ['purpose', { purpose: 'factor.secre' }],
    ['realm', { realm: 'bank' }],
    ['subject', { subject: 'bob' }],
    ['row', { id: 'fac_2' }],
    ['boundary between two parts', { realm: 'shopa', subject: 'da' }],
  ])('refuses a value moved to another %s', (_, change) => {
    const fault = refusal(box.seal(secret, binding), { ...binding, ...change });
    expect(fault).toBeInstanceOf(Fault);
    expect(fault).toMatchObject({ kind: 'data-loss', reason: 'INTEGRITY' });
  });

  it('is AES-256-GCM in the documented layout, under a key of its purpose and bound to all of where it belongs', () => {
    const sealed = Buffer.from(box.seal(secret, binding));
    const key = deriveKey(ring, 1, 'secret-box/factor.secret');
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(5, 17));
    const framed = ['factor.secret', 'shop', 'ada', 'fac_1'].flatMap((text) => [
      Buffer.from([0, 0, 0, text.length]),
      Buffer.from(text),
    ]);
    decipher.setAAD(Buffer.concat([Buffer.from([1, 0, 0, 0, 1]), ...framed]));
    decipher.setAuthTag(sealed.subarray(-16));
    const plain = Buffer.concat([decipher.update(sealed.subarray(17, -16)), decipher.final()]);
    expect(sealed[0]).toBe(1);
    expect(sealed.readUInt32BE(1)).toBe(1);
    expect(new Uint8Array(plain)).toEqual(secret);
  });

  it('refuses a value whose key id was altered, even where two ids carry the same key', () => {
    const root = ring.keys.get(1) ?? new Uint8Array();
    const twins = {
      ...ring,
      keys: new Map([
        [1, root],
        [2, root],
      ]),
    };
    const opener = new AesGcmSecretBox({ ring: twins, random: systemRandom });
    const sealed = box.seal(secret, binding);
    expect(opener.open(sealed, binding)).toEqual(secret);
    sealed[4] = 2;
    expect(refusal(sealed, binding, opener)).toMatchObject({ reason: 'INTEGRITY' });
  });

  it('refuses a value with any single bit changed, or cut short', () => {
    const sealed = box.seal(secret, binding);
    for (let bit = 0; bit < sealed.length * 8; bit += 1) {
      const altered = Uint8Array.from(sealed);
      altered[bit >> 3] = (altered[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(refusal(altered, binding), `bit ${bit}`).toMatchObject({ reason: 'INTEGRITY' });
    }
    for (let length = 0; length < sealed.length; length += 1) {
      expect(refusal(sealed.subarray(0, length), binding), `length ${length}`).toMatchObject({ reason: 'INTEGRITY' });
    }
  });

  it('says nothing of the secret or the person in a fault that is shown', () => {
    const fault = refusal(box.seal(secret, binding), { ...binding, id: 'fac_2' });
    expect(JSON.stringify([String(fault), (fault as Fault).details.metadata ?? {}])).not.toMatch(/ada|shop|seed/);
  });

  it('seals under the active key after a rotation and still opens older values', () => {
    const rotated = new AesGcmSecretBox({ ring: rotateKeyRing(ring, systemRandom), random: systemRandom });
    const old = box.seal(secret, binding);
    const fresh = rotated.seal(secret, binding);
    expect(rotated.open(old, binding)).toEqual(secret);
    expect(rotated.open(fresh, binding)).toEqual(secret);
    expect([...fresh.subarray(1, 5)]).toEqual([0, 0, 0, 2]);
    expect([rotated.isStale(old), rotated.isStale(fresh)]).toEqual([true, false]);
    expect(refusal(fresh, binding)).toMatchObject({ reason: 'INTEGRITY' });
  });

  it('refuses everything under another ring with the same key id', () => {
    const stranger = new AesGcmSecretBox({ ring: createKeyRing(systemRandom), random: systemRandom });
    expect(refusal(box.seal(secret, binding), binding, stranger)).toMatchObject({ reason: 'INTEGRITY' });
  });

  it('never repeats a nonce, over instances', () => {
    const seen = new Set<string>();
    const rounds = 50_000;
    for (const _ of [1, 2]) {
      const fresh = new AesGcmSecretBox({ ring, random: systemRandom });
      for (let i = 0; i < rounds; i += 1) {
        seen.add(Buffer.from(fresh.seal(new Uint8Array(1), binding).subarray(5, 17)).toString('latin1'));
      }
    }
    expect(seen.size).toBe(2 * rounds);
  });
});
