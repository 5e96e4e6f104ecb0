import { describe, expect, it } from 'vitest';
import { ceremonyChallenge, NONCE_BYTES } from '#src/domain/webauthn-challenge.ts';
import { counterRegressed } from '#src/domain/webauthn-counter.ts';

const CEREMONY = {
  purpose: 'assert',
  nonce: new Uint8Array(NONCE_BYTES),
  realm: 'shop',
  subject: 'ada',
  bearerId: 'chl_1',
  actionDigest: 'sha-256:x',
} as const;

describe('the challenge of a ceremony', () => {
  it('is 32 bytes that are the same for the same ceremony', () => {
    expect(ceremonyChallenge(CEREMONY)).toHaveLength(32);
    expect(ceremonyChallenge({ ...CEREMONY })).toEqual(ceremonyChallenge(CEREMONY));
  });

  it.each([
    ['purpose', { purpose: 'register' }],
    ['random part', { nonce: new Uint8Array(NONCE_BYTES).fill(1) }],
    ['realm', { realm: 'shop2' }],
    ['person', { subject: 'bob' }],
    ['challenge', { bearerId: 'chl_2' }],
    ['action', { actionDigest: 'sha-256:y' }],
    ['border between its parts', { realm: 'shopa', subject: 'da' }],
  ] as const)('is another one with another %s', (_, change) => {
    expect(ceremonyChallenge({ ...CEREMONY, ...change })).not.toEqual(ceremonyChallenge(CEREMONY));
  });

  it('is not made from less randomness', () => {
    expect(() => ceremonyChallenge({ ...CEREMONY, nonce: new Uint8Array(16) })).toThrow(RangeError);
  });
});

describe('a signature counter', () => {
  it.each([
    [0, 0, false],
    [0, 1, false],
    [1, 2, false],
    [1, 1, true],
    [2, 1, true],
    [1, 0, true],
  ])('from %i to %i is a regression: %s', (stored, shown, regressed) => {
    expect(counterRegressed(stored, shown)).toBe(regressed);
  });
});
