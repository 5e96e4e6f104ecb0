import { describe, expect, it } from 'vitest';
import {
  createKeyRing,
  deriveKey,
  deriveSeed,
  formatKeyRing,
  KeyRingError,
  keyRingFingerprint,
  parseKeyRing,
  rotateKeyRing,
} from '#src/adapters/secrets/key-ring.ts';
import { systemRandom } from '#src/adapters/system.ts';

const KEY_1 = Buffer.alloc(32, 1).toString('base64url');
const KEY_2 = Buffer.alloc(32, 2).toString('base64url');

describe('a key ring', () => {
  it('reads the written form and takes the lowest key for digests when none is named', () => {
    const ring = parseKeyRing(`{"active": 2, "keys": {"2": "${KEY_2}", "1": "${KEY_1}"}}`);
    expect(ring.active).toBe(2);
    expect(ring.digests).toBe(1);
    expect(ring.keys.get(2)).toEqual(new Uint8Array(32).fill(2));
  });

  it('survives being written and read', () => {
    const ring = rotateKeyRing(createKeyRing(systemRandom), systemRandom);
    expect(parseKeyRing(formatKeyRing(ring))).toEqual(ring);
  });

  it.each([
    ['not JSON', `{"active": 1, "keys": {"1": "${KEY_1}"}`],
    ['a list', '[]'],
    ['no keys', '{"active": 1}'],
    ['an empty ring', '{"active": 1, "keys": {}}'],
    ['an unknown member', `{"active": 1, "activ": 1, "keys": {"1": "${KEY_1}"}}`],
    ['an active key that is not there', `{"active": 2, "keys": {"1": "${KEY_1}"}}`],
    ['an active key as text', `{"active": "1", "keys": {"1": "${KEY_1}"}}`],
    ['a digest key that is not there', `{"active": 1, "digests": 2, "keys": {"1": "${KEY_1}"}}`],
    ['a short key', `{"active": 1, "keys": {"1": "${KEY_1.slice(0, 40)}"}}`],
    ['a key in plain base64', `{"active": 1, "keys": {"1": "${Buffer.alloc(32, 1).toString('base64')}"}}`],
    ['a key with a blank in it', `{"active": 1, "keys": {"1": " ${KEY_1}"}}`],
    ['a key id 0', `{"active": 0, "keys": {"0": "${KEY_1}"}}`],
    ['a key id with a leading zero', `{"active": 1, "keys": {"01": "${KEY_1}"}}`],
    ['a key id beyond 32 bits', `{"active": 4294967296, "keys": {"4294967296": "${KEY_1}"}}`],
    ['one key under two ids', `{"active": 1, "keys": {"1": "${KEY_1}", "2": "${KEY_1}"}}`],
  ])('refuses %s and does not quote the keys', (_, text) => {
    const refusal = capture(() => parseKeyRing(text));
    expect(refusal).toBeInstanceOf(KeyRingError);
    expect(String(refusal)).not.toContain(KEY_1.slice(0, 8));
  });

  it('derives another key for each purpose and root key', () => {
    const ring = rotateKeyRing(createKeyRing(systemRandom), systemRandom);
    const keys = [deriveKey(ring, 1, 'a'), deriveKey(ring, 1, 'b'), deriveKey(ring, 2, 'a'), deriveSeed(ring, 'a')];
    expect(new Set(keys.map((key) => Buffer.from(key).toString('hex'))).size).toBe(4);
    for (const key of keys) expect(key).toHaveLength(32);
  });

  it('derives by HKDF-SHA-256 as anybody else would', () => {
    const ring = parseKeyRing(`{"active": 1, "keys": {"1": "${KEY_1}"}}`);
    // From Python: HKDF-Extract with an empty salt, then one block of Expand, by hmac.
    expect(Buffer.from(deriveKey(ring, 1, 'example')).toString('hex')).toBe(
      'e25f343d567b2331ce7a7e12133aeda83f5c011d70958a6e0d4a10a91dc22558',
    );
  });

  it('keeps seeds and fingerprint over a rotation', () => {
    const before = createKeyRing(systemRandom);
    const after = rotateKeyRing(before, systemRandom);
    expect(deriveSeed(after, 'checkpoint')).toEqual(deriveSeed(before, 'checkpoint'));
    expect(keyRingFingerprint(after)).toBe(keyRingFingerprint(before));
    expect(keyRingFingerprint(createKeyRing(systemRandom))).not.toBe(keyRingFingerprint(before));
  });
});

function capture(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}
