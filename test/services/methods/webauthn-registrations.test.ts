import { describe, expect, it } from 'vitest';
import { Ceremonies } from '#src/adapters/webauthn/ceremonies.ts';
import { WebAuthnAssertions } from '#src/services/methods/webauthn-assertions.ts';
import { WebAuthnCredentials } from '#src/services/methods/webauthn-credentials.ts';
import type { CeremonyNonces } from '#src/services/methods/webauthn-nonces.ts';
import { WebAuthnRegistrations } from '#src/services/methods/webauthn-registrations.ts';
import { SoftwareAuthenticator } from '../../support/software-authenticator.ts';
import { type CeremonyVector, ceremonyVectors, REFUSED_VECTORS } from '../../support/webauthn-vectors.ts';
import { REALM, WebAuthnWorld } from '../../support/webauthn-world.ts';

describe('a registration', () => {
  it('makes a sealed credential and what nobody else may enrol', async () => {
    const world = new WebAuthnWorld();
    const key = new SoftwareAuthenticator();
    const factor = world.pending('ada');
    const verdict = await world.confirm(factor, key.register(await world.optionsFor(factor), { signCount: 3 }));
    if (verdict.outcome === 'wrong' || verdict.proof.kind !== 'made') throw new Error('was not made');
    const { sealedSecret, uniqueDigest, signCount } = verdict.proof;
    expect(signCount).toBe(3);
    for (const bytes of [sealedSecret, uniqueDigest]) {
      expect(Buffer.from(bytes).includes(key.id)).toBe(false);
      expect(Buffer.from(bytes).includes(Buffer.from(key.credentialId))).toBe(false);
    }
  });

  it('of one credential has one digest, whoever enrols it', async () => {
    const world = new WebAuthnWorld();
    const key = new SoftwareAuthenticator();
    const { uniqueDigest: first } = await world.enrolled('ada', key);
    const { uniqueDigest: second } = await world.enrolled('mallory', key);
    expect(second).toEqual(first);
    expect((await world.enrolled('ada', new SoftwareAuthenticator())).uniqueDigest).not.toEqual(first);
    const credentials = new WebAuthnCredentials(world);
    expect(credentials.digestOf(REALM, key.id)).toEqual(first);
    expect(credentials.digestOf('other', key.id)).not.toEqual(first);
  });

  it('names the person by bytes that say nothing, the same for all their keys', async () => {
    const world = new WebAuthnWorld();
    const userOf = async (subject: string) => JSON.parse(await world.optionsFor(world.pending(subject))).user;
    const { id, name } = await userOf('ada');
    expect(name).toBe('ada@example.com');
    expect(Buffer.from(id, 'base64url')).toHaveLength(32);
    expect(await userOf('ada')).toMatchObject({ id });
    expect((await userOf('bob')).id).not.toBe(id);
  });

  it('excludes what the person has, but for the one it replaces', async () => {
    const world = new WebAuthnWorld();
    const [kept, replaced] = [new SoftwareAuthenticator(), new SoftwareAuthenticator()];
    await world.enrolled('ada', kept, { freezeReason: 'NOT_ME' });
    const { id } = await world.enrolled('ada', replaced);
    await world.enrolled('bob', new SoftwareAuthenticator());
    const excluded = async (replaces: string) =>
      JSON.parse(await world.optionsFor(world.pending('ada', { replaces }))).excludeCredentials.map(
        (credential: { id: string }) => credential.id,
      );
    expect(await excluded('')).toEqual([kept.id, replaced.id]);
    expect(await excluded(id)).toEqual([kept.id]);
  });

  it('leaves no second try: what was answered is used up, and a repeat gets new options', async () => {
    const world = new WebAuthnWorld();
    const key = new SoftwareAuthenticator();
    const factor = world.pending('ada');
    const options = await world.optionsFor(factor);
    expect(await world.optionsFor(factor, true)).toBe(options);
    const bent = key.register(options, { clientData: { origin: 'https://evil.net' } });
    expect(await world.confirm(factor, bent)).toMatchObject({
      outcome: 'wrong',
      field: 'webauthn_credential_json',
      description: expect.stringContaining('webauthn.origins'),
    });
    expect(await world.confirm(factor, key.register(options))).toMatchObject({
      outcome: 'wrong',
      description: expect.stringContaining('no options that stand'),
    });
    const fresh = await world.optionsFor(factor, true);
    expect(JSON.parse(fresh).challenge).not.toBe(JSON.parse(options).challenge);
    expect(await world.confirm(factor, key.register(fresh))).toMatchObject({ outcome: 'right' });
  });

  it('of 20 in parallel is looked at once', async () => {
    const world = new WebAuthnWorld();
    const factor = world.pending('ada');
    const answer = new SoftwareAuthenticator().register(await world.optionsFor(factor));
    const verdicts = await Promise.all(Array.from({ length: 20 }, () => world.confirm(factor, answer)));
    expect(verdicts.filter(({ outcome }) => outcome === 'right')).toHaveLength(1);
  });

  it('for one enrolment does not confirm another, nor one of somebody else', async () => {
    const world = new WebAuthnWorld();
    const mine = world.pending('ada');
    const answer = new SoftwareAuthenticator().register(await world.optionsFor(mine));
    for (const other of [world.pending('ada'), world.pending('mallory'), { ...mine, subject: 'mallory' }]) {
      if (other.id !== mine.id) await world.optionsFor(other);
      expect(await world.confirm(other, answer)).toMatchObject({ outcome: 'wrong' });
    }
  });

  it('after its time is refused', async () => {
    const world = new WebAuthnWorld();
    const factor = world.pending('ada');
    const answer = new SoftwareAuthenticator().register(await world.optionsFor(factor));
    world.clock.advance(10 * 60_000);
    expect(await world.confirm(factor, answer)).toMatchObject({ outcome: 'wrong' });
  });

  it('does not answer a challenge, and an assertion confirms no enrolment', async () => {
    const world = new WebAuthnWorld();
    const key = new SoftwareAuthenticator();
    const factor = await world.enrolled('ada', key);
    const challenge = world.challenge('ada', [factor]);
    const options = JSON.stringify({ ...JSON.parse(await world.prompt(challenge, factor)), rp: { id: 'example.com' } });
    expect(await world.answer(challenge, key.register(options))).toMatchObject({ outcome: 'wrong' });
    const pending = world.pending('ada');
    const creation = JSON.stringify({ ...JSON.parse(await world.optionsFor(pending)), rpId: 'example.com' });
    expect(await world.confirm(pending, key.assert(creation))).toMatchObject({ outcome: 'wrong' });
  });

  it('needs no attempt of the budget, and is not confirmed by a code', async () => {
    const world = new WebAuthnWorld();
    expect(world.enrollment.guessable).toBe(false);
    const proof = { kind: 'code', code: '123456' } as const;
    expect(await world.enrollment.check(world.pending('ada'), proof, 0)).toMatchObject({ outcome: 'wrong' });
  });

  it('has a name where none was given', async () => {
    const world = new WebAuthnWorld();
    const { displayName, sealedSecret } = await world.enrollment.prepare(world.pending('ada'), {
      displayName: '',
      accountName: 'ada',
      phoneNumber: '',
      pushSubscriptionJson: '',
      devicePublicKey: new Uint8Array(),
      language: '',
      client: { ipAddress: '', userAgent: '', deviceId: '' },
    });
    expect(displayName).toBe('Security key');
    expect(sealedSecret).toHaveLength(0);
  });
});

/** Nonces that are what a vector was made with. */
function given(challenge: Uint8Array): CeremonyNonces {
  const answer = () => Promise.resolve(challenge);
  return { make: answer, standing: answer, take: answer, imitate: () => Promise.resolve() };
}

function methodsFor(world: WebAuthnWorld, { rpId, origin, registration, authentication }: CeremonyVector) {
  const webauthn = new Ceremonies({ rpId, rpName: 'Example', origins: [origin], topOrigins: [] });
  const credentials = new WebAuthnCredentials(world);
  const shared = { ...world, webauthn, credentials, factors: world.factors };
  return {
    registrations: new WebAuthnRegistrations({ ...shared, nonces: given(registration.challenge) }),
    assertions: new WebAuthnAssertions({
      ...shared,
      options: { alwaysVerifyUser: false, acceptRegression: false },
      nonces: given(authentication.challenge),
    }),
  };
}

describe('the test vectors of the specification', () => {
  it.each(ceremonyVectors())('of $name enrol and prove through the method, or are refused', async (vector) => {
    const world = new WebAuthnWorld();
    const { registrations, assertions } = methodsFor(world, vector);
    const pending = world.pending('ada');
    const proof = { kind: 'webauthn', credentialJson: vector.registration.json } as const;
    const verdict = await registrations.check(pending, proof, 0);
    const refusal = REFUSED_VECTORS[vector.name];
    expect(world.lastRefusal).toBe(refusal);
    expect(verdict.outcome).toBe(refusal === undefined ? 'right' : 'wrong');
    if (verdict.outcome === 'wrong') return;
    const factor = world.keep(pending, verdict);
    const answer = { kind: 'webauthn', credentialJson: vector.authentication.json } as const;
    expect(await assertions.check(world.challenge('ada', [factor]), [factor], answer, 0)).toMatchObject({
      outcome: 'right',
      factorId: factor.id,
    });
  });
});
