import { describe, expect, it } from 'vitest';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { HOUR } from '#src/domain/time.ts';
import { RequestClaims, type RequestToClaim } from '#src/services/request-claims.ts';
import { ManualClock } from '../support/clock.ts';
import { SeededRandom } from '../support/random.ts';
import { APPLICATION } from '../support/session-world.ts';

const clock = new ManualClock();
const claimsUnder = (seed: string) =>
  new RequestClaims({
    clock,
    digest: new HmacKeyedDigest({ ring: createKeyRing(new SeededRandom(seed)) }),
    ttlMs: HOUR,
  });
const claims = claimsUnder('ring');
const REQUEST: RequestToClaim = {
  realm: 'shop',
  method: 'AnswerChallenge',
  caller: APPLICATION,
  requestId: '5f2b7d9a-3c1e-4f60-8a7b-0d9e8c7b6a51',
  fields: ['ann', '123456'],
  seed: 'chl_1',
};
const claim = (over: Partial<RequestToClaim> = {}) => claims.claim({ ...REQUEST, ...over });

describe('the claim of a request id', () => {
  it('is the same for the same request, for as long as the settings say', () => {
    expect(claim()).toEqual(claim());
    expect(claim()?.expiresAt).toBe(clock.now() + HOUR);
    expect(claim({ requestId: '' })).toBeUndefined();
  });

  it('is the one of the release before while nothing is asked for that came later, and another one otherwise', () => {
    expect(claim({ added: ['', ''] })?.fingerprint).toBe(claim()?.fingerprint);
    const fingerprints = [
      claim(),
      claim({ added: ['a', ''] }),
      claim({ added: ['', 'a'] }),
      claim({ fields: [...REQUEST.fields, 'a', ''] }),
      claim({ fields: [...REQUEST.fields, '', 'a'] }),
    ].map((made) => made?.fingerprint);
    expect(new Set(fingerprints).size).toBe(fingerprints.length);
  });

  it('belongs to one realm, one method and one caller', () => {
    const keys = [
      claim(),
      claim({ realm: 'bank' }),
      claim({ method: 'ConfirmEnrollment' }),
      claim({ caller: { ...APPLICATION, name: 'http' } }),
      claim({ requestId: '00000000-0000-4000-8000-000000000000' }),
    ].map((each) => each?.key);
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('tells requests apart by every field and by where each one ends, texts and bytes alike', () => {
    const fingerprints = [
      ['ann', '123456'],
      ['ann1', '23456'],
      ['ann123456'],
      ['ann', '123456', ''],
      ['', 'ann', '123456'],
      ['ann', '123457'],
      ['123456', 'ann'],
    ].map((fields) => claim({ fields })?.fingerprint);
    expect(new Set(fingerprints).size).toBe(fingerprints.length);
    expect(claim({ fields: ['ann', Buffer.from('123456')] })?.fingerprint).toBe(fingerprints[0]);
  });

  it('has a fingerprint that nobody without the key can try codes against', () => {
    expect(claimsUnder('another ring').claim(REQUEST)?.fingerprint).not.toBe(claim()?.fingerprint);
  });
});
