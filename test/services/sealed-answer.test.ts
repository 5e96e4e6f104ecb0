import { describe, expect, it } from 'vitest';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { openAnswer, sealAnswer } from '#src/services/sealed-answer.ts';
import { SeededRandom } from '../support/random.ts';

const random = new SeededRandom('answers');
const box = new AesGcmSecretBox({ ring: createKeyRing(random), random });
const OWNER = { realm: 'shop', subject: 'ann', requestId: '5f2b7d9a-3c1e-4f60-8a7b-0d9e8c7b6a51' };
const CODES = ['0123-4567-89ab-cdef'];

describe('an answer kept with its request id', () => {
  const seed = Buffer.from(sealAnswer(box, OWNER, CODES), 'utf8');

  it('comes back to its owner, and is not readable as stored', () => {
    expect(openAnswer(box, OWNER, seed)).toEqual(CODES);
    expect(seed.includes('0123') || Buffer.from(seed.toString(), 'base64url').includes('0123')).toBe(false);
  });

  it.each([
    ['realm', { realm: 'bank' }],
    ['person', { subject: 'eve' }],
    ['request', { requestId: '00000000-0000-4000-8000-000000000000' }],
  ])('does not open for another %s', (_, over) => {
    expect(() => openAnswer(box, { ...OWNER, ...over }, seed)).toThrow(
      expect.objectContaining({ kind: 'data-loss', reason: 'INTEGRITY' }),
    );
  });
});
