import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createKeyRing, deriveKey, rotateKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { systemRandom } from '#src/adapters/system.ts';

const ring = createKeyRing(systemRandom);
const digests = new HmacKeyedDigest({ ring });

describe('the keyed digest', () => {
  it('is HMAC-SHA-256 under the key of its purpose', () => {
    const expected = createHmac('sha256', deriveKey(ring, 1, 'digest/subject'))
      .update('ada')
      .digest();
    expect(digests.digest('subject', 'ada')).toEqual(new Uint8Array(expected));
    expect(digests.digest('subject', new TextEncoder().encode('ada'))).toEqual(new Uint8Array(expected));
  });

  it('differs by purpose, value and ring', () => {
    const other = new HmacKeyedDigest({ ring: createKeyRing(systemRandom) });
    const all = [
      digests.digest('a', 'x'),
      digests.digest('b', 'x'),
      digests.digest('a', 'y'),
      other.digest('a', 'x'),
    ].map((digest) => Buffer.from(digest).toString('hex'));
    expect(new Set(all).size).toBe(4);
  });

  it('stays the same when the ring is rotated, so that what was stored is still found', () => {
    const rotated = new HmacKeyedDigest({ ring: rotateKeyRing(ring, systemRandom) });
    expect(rotated.digest('subject', 'ada')).toEqual(digests.digest('subject', 'ada'));
  });
});
