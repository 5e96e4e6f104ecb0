import { describe, expect, it } from 'vitest';
import { openStash, sealStash } from '#src/adapters/audit/stash.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { SeededRandom } from '../../support/random.ts';

describe('a stashed key', () => {
  it('opens under its own pseudonym only', () => {
    const random = new SeededRandom('stash');
    const box = new AesGcmSecretBox({ ring: createKeyRing(random), random });
    const key = { realm: 'shop', subject: 'ann', ref: 'ref-of-ann', key: random.bytes(32) };
    const sealed = sealStash(key, box);
    const opened = openStash('ref-of-ann', sealed, box);
    expect({ ...opened, key: new Uint8Array(opened.key) }).toEqual(key);
    expect(() => openStash('ref-of-eve', sealed, box)).toThrow(expect.objectContaining({ reason: 'INTEGRITY' }));
  });
});
