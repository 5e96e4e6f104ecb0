import { beforeEach, describe, expect, it } from 'vitest';
import type { Action } from '#src/domain/action.ts';
import { actionDigest } from '#src/domain/action.ts';
import type { Factor } from '#src/domain/factor.ts';
import { settle } from '../../support/clock.ts';
import { FLAG, SoftwareAuthenticator } from '../../support/software-authenticator.ts';
import { REALM, WebAuthnWorld } from '../../support/webauthn-world.ts';

let world: WebAuthnWorld;
let key: SoftwareAuthenticator;
let factor: Factor;

beforeEach(async () => {
  world = new WebAuthnWorld();
  key = new SoftwareAuthenticator();
  factor = await world.enrolled('ada', key);
});

const OTHER: Action = { resource: 'accounts/1', action: 'transfer', details: new Map([['amount', '10000']]) };

describe('an assertion', () => {
  it('proves the challenge that it was made for, and claims its counter', async () => {
    const challenge = world.challenge('ada', [factor]);
    expect(await world.prove(challenge, factor, key)).toEqual({
      outcome: 'right',
      claim: { kind: 'webauthn', factorId: factor.id, signCount: 1, anyCounter: false },
      method: 'webauthn',
      factorId: factor.id,
    });
  });

  it('is worth nothing the second time', async () => {
    const challenge = world.challenge('ada', [factor]);
    const answer = key.assert(await world.prompt(challenge, factor));
    expect(await world.answer(challenge, answer)).toMatchObject({ outcome: 'right' });
    expect(await world.answer(challenge, answer)).toMatchObject({ outcome: 'wrong' });
    expect(world.lastRefusal).toBe('CHALLENGE');
  });

  it('leaves no second try after a failure: a new prompt is needed', async () => {
    const challenge = world.challenge('ada', [factor]);
    const options = await world.prompt(challenge, factor);
    expect(await world.answer(challenge, '{}')).toMatchObject({ outcome: 'wrong' });
    expect(await world.answer(challenge, key.assert(options))).toMatchObject({ outcome: 'wrong' });
    expect(world.lastRefusal).toBe('CHALLENGE');
    expect(await world.answer(challenge, key.assert(await world.prompt(challenge, factor)))).toMatchObject({
      outcome: 'right',
    });
  });

  it('answers the newest prompt only', async () => {
    const challenge = world.challenge('ada', [factor]);
    const older = await world.prompt(challenge, factor);
    const newer = await world.prompt(challenge, factor, true);
    expect(JSON.parse(older).challenge).not.toBe(JSON.parse(newer).challenge);
    expect(await world.answer(challenge, key.assert(older))).toMatchObject({ outcome: 'wrong' });
    const newest = await world.prompt(challenge, factor);
    expect(await world.answer(challenge, key.assert(newest))).toMatchObject({ outcome: 'right' });
  });

  it('of 20 in parallel is looked at once', async () => {
    const challenge = world.challenge('ada', [factor]);
    const answer = key.assert(await world.prompt(challenge, factor));
    const verdicts = await Promise.all(Array.from({ length: 20 }, () => world.answer(challenge, answer)));
    expect(verdicts.filter(({ outcome }) => outcome === 'right')).toHaveLength(1);
  });

  it('without any prompt is refused', async () => {
    const challenge = world.challenge('ada', [factor]);
    const foreign = await world.prompt(world.challenge('ada', [factor]), factor);
    expect(await world.answer(challenge, key.assert(foreign))).toMatchObject({ outcome: 'wrong' });
    expect(world.lastRefusal).toBe('CHALLENGE');
  });

  it('made for one challenge does not answer another, live one', async () => {
    const [mine, other] = [world.challenge('ada', [factor]), world.challenge('ada', [factor])];
    const answer = key.assert(await world.prompt(mine, factor));
    await world.prompt(other, factor);
    expect(await world.answer(other, answer)).toMatchObject({ outcome: 'wrong' });
    expect(world.lastRefusal).toBe('CHALLENGE');
  });

  it('is bound to the action: another one under the same id is refused', async () => {
    const challenge = world.challenge('ada', [factor]);
    const answer = key.assert(await world.prompt(challenge, factor));
    const changed = { ...challenge, action: OTHER, actionDigest: actionDigest(REALM, 'ada', OTHER) };
    expect(await world.answer(changed, answer)).toMatchObject({ outcome: 'wrong' });
    expect(world.lastRefusal).toBe('CHALLENGE');
  });

  it('after its time is refused', async () => {
    const challenge = world.challenge('ada', [factor]);
    const answer = key.assert(await world.prompt(challenge, factor));
    world.clock.advance(60_000);
    expect(await world.answer(challenge, answer)).toMatchObject({ outcome: 'wrong' });
  });

  it('by any offered key of the person holds, whichever was chosen', async () => {
    const second = new SoftwareAuthenticator({ algorithm: 'EdDSA' });
    const other = await world.enrolled('ada', second);
    const challenge = world.challenge('ada', [factor, other]);
    const options = JSON.parse(await world.prompt(challenge, other));
    expect(options.allowCredentials.map(({ id }: { id: string }) => id)).toEqual([second.id, key.id]);
    expect(await world.prove(challenge, other, key)).toMatchObject({ outcome: 'right', factorId: factor.id });
    expect(await world.prove(challenge, factor, second)).toMatchObject({ outcome: 'right', factorId: other.id });
  });

  it("by somebody else's key, or one that is not offered, is refused", async () => {
    const mallory = new SoftwareAuthenticator();
    const foreign = await world.enrolled('mallory', mallory);
    const spare = new SoftwareAuthenticator();
    await world.enrolled('ada', spare);
    const challenge = world.challenge('ada', [factor, foreign]);
    for (const wrong of [mallory, spare, new SoftwareAuthenticator()]) {
      expect(await world.prove(challenge, factor, wrong)).toMatchObject({ outcome: 'wrong' });
      expect(world.lastRefusal).toBe('CREDENTIAL_ID');
    }
  });

  it('that names the right key but is signed by another is refused', async () => {
    const signedBy = new SoftwareAuthenticator();
    expect(await world.prove(world.challenge('ada', [factor]), factor, key, { signedBy })).toMatchObject({
      outcome: 'wrong',
    });
    expect(world.lastRefusal).toBe('SIGNATURE');
  });

  it('with the user handle of somebody else is refused, with that of the person it holds', async () => {
    const handleOf = async (subject: string) =>
      Buffer.from(JSON.parse(await world.optionsFor(world.pending(subject))).user.id, 'base64url');
    const challenge = world.challenge('ada', [factor]);
    const mine = { userHandle: await handleOf('ada') };
    expect(mine.userHandle).toHaveLength(32);
    expect(await world.prove(challenge, factor, key, mine)).toMatchObject({ outcome: 'right' });
    const foreign = { userHandle: await handleOf('mallory') };
    expect(await world.prove(challenge, factor, key, foreign)).toMatchObject({ outcome: 'wrong' });
    expect(world.lastRefusal).toBe('CREDENTIAL_ID');
  });

  it('whose key was swapped for that of another person in the database is refused with an alarm', async () => {
    const mallory = new SoftwareAuthenticator();
    const { sealedSecret, uniqueDigest } = await world.enrolled('mallory', mallory);
    const swapped = { ...factor, sealedSecret, ...(uniqueDigest ? { uniqueDigest } : {}) };
    const challenge = world.challenge('ada', [factor]);
    const answer = mallory.assert(await world.prompt(challenge, factor));
    world.held.splice(0, 1, swapped);
    await expect(world.answer(challenge, answer)).rejects.toMatchObject({ reason: 'INTEGRITY' });
    expect(world.log.lines.at(-1)).toContain('error the stored secret');
  });
});

describe('user verification', () => {
  const unverified = { flags: FLAG.up };

  it('is required for critical actions, and without it they are refused', async () => {
    const challenge = world.challenge('ada', [factor], { sensitivity: 'critical' });
    expect(JSON.parse(await world.prompt(challenge, factor)).userVerification).toBe('required');
    expect(await world.prove(challenge, factor, key, unverified)).toMatchObject({ outcome: 'wrong' });
    expect(world.lastRefusal).toBe('USER_NOT_VERIFIED');
    expect(await world.prove(challenge, factor, key)).toMatchObject({ outcome: 'right' });
  });

  it('is preferred for others', async () => {
    const challenge = world.challenge('ada', [factor], { sensitivity: 'sensitive' });
    expect(JSON.parse(await world.prompt(challenge, factor)).userVerification).toBe('preferred');
    expect(await world.prove(challenge, factor, key, unverified)).toMatchObject({ outcome: 'right' });
  });

  it('is required for all where the profile wants it', async () => {
    const strict = new WebAuthnWorld({ alwaysVerifyUser: true });
    const held = await strict.enrolled('ada', key);
    const challenge = strict.challenge('ada', [held], { sensitivity: 'low' });
    expect(JSON.parse(await strict.prompt(challenge, held)).userVerification).toBe('required');
    expect(await strict.prove(challenge, held, key, unverified)).toMatchObject({ outcome: 'wrong' });
  });
});

describe('a counter that does not grow', () => {
  const used = { signCount: 5 };

  it.each([5, 4, 0])('is refused from 5 to %i, with an event and an alarm', async (signCount) => {
    world.held.splice(0, 1, { ...factor, ...used });
    expect(await world.prove(world.challenge('ada', [factor]), factor, key, { signCount })).toEqual({
      outcome: 'replayed',
    });
    await settle();
    expect(world.regressions).toMatchObject([
      {
        outcome: 'REFUSED',
        reason: 'COUNTER',
        subject: 'ada',
        factorId: factor.id,
        facts: { stored: '5', shown: String(signCount) },
      },
    ]);
    expect(world.log.lines.some((line) => line.startsWith('error the counter'))).toBe(true);
  });

  it('is none for keys that do not count, nor where it grows', async () => {
    expect(await world.prove(world.challenge('ada', [factor]), factor, key, { signCount: 0 })).toMatchObject({
      outcome: 'right',
      claim: { anyCounter: false },
    });
    world.held.splice(0, 1, { ...factor, ...used });
    expect(await world.prove(world.challenge('ada', [factor]), factor, key, { signCount: 6 })).toMatchObject({
      outcome: 'right',
      claim: { signCount: 6, anyCounter: false },
    });
    expect(world.regressions).toEqual([]);
  });

  it('is accepted with an event where the settings say so, and never for critical actions', async () => {
    const lenient = new WebAuthnWorld({ acceptRegression: true });
    const held = await lenient.enrolled('ada', key, used);
    const bend = { signCount: 5 };
    expect(await lenient.prove(lenient.challenge('ada', [held]), held, key, bend)).toMatchObject({
      outcome: 'right',
      claim: { signCount: 5, anyCounter: true },
    });
    expect(lenient.regressions).toMatchObject([{ outcome: 'INFO', reason: 'COUNTER' }]);
    const critical = lenient.challenge('ada', [held], { sensitivity: 'critical' });
    expect(await lenient.prove(critical, held, key, bend)).toEqual({ outcome: 'replayed' });
  });

  it('is not accepted while its event cannot be written', async () => {
    const lenient = new WebAuthnWorld({ acceptRegression: true });
    const held = await lenient.enrolled('ada', key, used);
    lenient.audit.failure = new Error('disk full');
    await expect(lenient.prove(lenient.challenge('ada', [held]), held, key, { signCount: 5 })).rejects.toThrow();
  });
});

describe('a prompt', () => {
  it('names the keys of the person that are offered and usable, and lasts as long as the challenge', async () => {
    const frozen = await world.enrolled('ada', new SoftwareAuthenticator(), { freezeReason: 'NOT_ME' });
    await world.enrolled('ada', new SoftwareAuthenticator());
    const challenge = world.challenge('ada', [factor, frozen]);
    world.clock.advance(20_000);
    const options = JSON.parse(await world.prompt(challenge, factor));
    expect(options.allowCredentials.map(({ id }: { id: string }) => id)).toEqual([key.id]);
    expect(options.timeout).toBe(40_000);
  });

  it('is refused when no key is left', async () => {
    const challenge = world.challenge('ada', [factor]);
    world.held.splice(0);
    await expect(world.prompt(challenge, factor)).rejects.toMatchObject({ reason: 'METHOD_NOT_OFFERED' });
  });

  it('can be pretended: it looks the same and nothing answers it', async () => {
    const challenge = world.challenge('ada', [factor]);
    const real = JSON.parse(await world.prompt(challenge, factor));
    world.codes.codes.clear();
    const view = await world.challenges.pretend?.(challenge, factor);
    const shown = view?.webauthnOptionsJson ?? '';
    expect(JSON.parse(shown)).toEqual({ ...real, challenge: expect.stringMatching(/^[\w-]{43}$/) });
    expect(world.codes.codes.size).toBe(0);
    expect(await world.answer(challenge, key.assert(shown))).toMatchObject({ outcome: 'wrong' });
  });

  it('keeps its random part sealed', async () => {
    const challenge = world.challenge('ada', [factor]);
    const { challenge: signed } = JSON.parse(await world.prompt(challenge, factor));
    const [code] = [...world.codes.codes.values()];
    expect(code).toMatchObject({ method: 'webauthn', bearerId: challenge.id, expiresAt: challenge.expiresAt });
    const stored = Buffer.concat([code?.sealed ?? Buffer.alloc(0), code?.digest ?? Buffer.alloc(0)]);
    expect(stored.includes(Buffer.from(signed, 'base64url'))).toBe(false);
  });
});

describe('imitating a check', () => {
  it('uses nothing up and says nothing', async () => {
    const challenge = world.challenge('ada', [factor]);
    const answer = key.assert(await world.prompt(challenge, factor));
    for (const credentialJson of [answer, '', '{'])
      expect(await world.challenges.imitate({ kind: 'webauthn', credentialJson })).toBeUndefined();
    expect(await world.answer(challenge, answer)).toMatchObject({ outcome: 'right' });
  });

  it('is all there is for proofs of other methods', async () => {
    const challenge = world.challenge('ada', [factor]);
    const proof = { kind: 'sms', code: '123456' } as const;
    expect(await world.challenges.check(challenge, [factor], proof, world.clock.now())).toMatchObject({
      outcome: 'wrong',
    });
  });
});
