import { describe, expect, it } from 'vitest';
import { Ceremonies } from '#src/adapters/webauthn/ceremonies.ts';
import { type CeremonyVector, ceremonyVectors, REFUSED_VECTORS } from '../../support/webauthn-vectors.ts';

const vectors = ceremonyVectors();
const handle = new Uint8Array(32);

function ceremoniesFor({ rpId, origin }: CeremonyVector, topOrigins: readonly string[] = []): Ceremonies {
  return new Ceremonies({ rpId, rpName: 'Example', origins: [origin], topOrigins });
}

async function runPair(ceremonies: Ceremonies, { registration, authentication }: CeremonyVector) {
  const registered = await ceremonies.verifyRegistration(registration);
  if (registered.outcome === 'refused') return { registered };
  const asserted = await ceremonies.verifyAssertion({
    ...authentication,
    credential: registered.credential,
    userHandle: handle,
    requireUserVerification: false,
  });
  return { registered, asserted };
}

describe('the test vectors of the specification', () => {
  it('are all 15 there', () => {
    expect(vectors).toHaveLength(15);
    expect(Object.keys(REFUSED_VECTORS).every((name) => vectors.some((vector) => vector.name === name))).toBe(true);
  });

  const accepted = vectors.filter(({ name }) => !(name in REFUSED_VECTORS));
  it.each(accepted)('of $name are registered and proven', async (vector) => {
    const { registered, asserted } = await runPair(ceremoniesFor(vector), vector);
    expect(registered).toMatchObject({ outcome: 'right', credential: { id: JSON.parse(vector.registration.json).id } });
    expect(asserted).toMatchObject({ outcome: 'right', signCount: 0 });
  });

  const refused = vectors.filter(({ name }) => name in REFUSED_VECTORS);
  it.each(refused)('of $name are refused for their reason', async (vector) => {
    const { registered } = await runPair(ceremoniesFor(vector), vector);
    expect(registered).toEqual({ outcome: 'refused', refusal: REFUSED_VECTORS[vector.name] });
  });

  it('in a frame are taken where the top origin is listed, and refused where the frame names none', async () => {
    for (const vector of vectors.filter(({ name }) => REFUSED_VECTORS[name] === 'CROSS_ORIGIN')) {
      const { registered, asserted } = await runPair(ceremoniesFor(vector, ['https://example.com']), vector);
      const expected = vector.topOrigin === undefined ? { outcome: 'refused', refusal: 'CROSS_ORIGIN' } : undefined;
      expect(registered).toMatchObject(expected ?? { outcome: 'right' });
      if (!expected) expect(asserted).toMatchObject({ outcome: 'right' });
    }
  });

  it('in a frame are refused at the assertion as well', async () => {
    const vector = vectors.find(({ topOrigin }) => topOrigin !== undefined);
    if (!vector) throw new Error('no vector has a top origin');
    const registered = await ceremoniesFor(vector, ['https://example.com']).verifyRegistration(vector.registration);
    if (registered.outcome === 'refused') throw new Error(registered.refusal);
    const { credential } = registered;
    const input = { ...vector.authentication, credential, userHandle: handle, requireUserVerification: false };
    const elsewhere = await ceremoniesFor(vector, ['https://example.net']).verifyAssertion(input);
    expect(elsewhere).toEqual({ outcome: 'refused', refusal: 'CROSS_ORIGIN' });
  });
});
