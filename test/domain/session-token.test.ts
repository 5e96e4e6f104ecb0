import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tokenDigest } from '#src/domain/opaque-token.ts';
import { isSessionToken, newSessionToken } from '#src/domain/session-token.ts';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const secretBytes = fc.uint8Array({ minLength: 32, maxLength: 32 });

function numberOf(base62: string): bigint {
  return [...base62].reduce((value, digit) => value * 62n + BigInt(ALPHABET.indexOf(digit)), 0n);
}

describe('a session token', () => {
  it('carries all 256 bits and the CRC-32 that zlib computes', () => {
    fc.assert(
      fc.property(secretBytes, (bytes) => {
        const token = newSessionToken(bytes);
        expect(token).toMatch(/^sps_[0-9A-Za-z]{49}$/);
        expect(numberOf(token.slice(4, 47))).toBe(BigInt(`0x${Buffer.from(bytes).toString('hex')}`));
        expect(numberOf(token.slice(47))).toBe(BigInt(crc32(token.slice(4, 47))));
        expect(isSessionToken(token)).toBe(true);
      }),
    );
  });

  it('is refused after any change of one character', () => {
    fc.assert(
      fc.property(secretBytes, fc.nat(52), fc.constantFrom(...ALPHABET, '-', '_', ' ', 'é'), (bytes, index, other) => {
        const token = newSessionToken(bytes);
        const changed = token.slice(0, index) + other + token.slice(index + 1);
        fc.pre(changed !== token);
        expect(isSessionToken(changed)).toBe(false);
      }),
    );
  });

  it('is refused when it is longer, shorter, or any other text', () => {
    const token = newSessionToken(new Uint8Array(32).fill(255));
    for (const text of ['', 'sps_', token.slice(0, -1), `${token}0`, ` ${token}`, `${token}\n`, token.toLowerCase()]) {
      expect(isSessionToken(text)).toBe(false);
    }
    fc.assert(fc.property(fc.string({ maxLength: 80 }), (text) => !isSessionToken(text)));
  });

  it('is made from 32 bytes and nothing else', () => {
    expect(() => newSessionToken(new Uint8Array(31))).toThrow(RangeError);
  });

  it('is known by its SHA-256', () => {
    // `printf abc | sha256sum`, FIPS 180-4.
    expect(Buffer.from(tokenDigest('abc'), 'base64url').toString('hex')).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
  });
});
