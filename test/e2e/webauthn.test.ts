import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChallengeService, ChallengeState, RefusalReason } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { errorInfo, type GrpcClient } from '../support/grpc-client.ts';
import { UNHURRIED } from '../support/patient-settings.ts';
import { signIn, TRANSFER } from '../support/people.ts';
import { Sidecar } from '../support/sidecar.ts';
import { type Bend, FLAG, SoftwareAuthenticator } from '../support/software-authenticator.ts';
import { answer, backupCode } from '../support/step-up.ts';
import { eventually, factOf } from '../support/trail-of.ts';
import {
  answerWith,
  beginKey,
  confirmKey,
  enrolKey,
  openFor,
  optionsOf,
  proveBy,
  type SignedIn,
  webauthnSettings,
} from '../support/webauthn-calls.ts';
import { WebAuthnPage } from '../support/webauthn-page.ts';

const SOFT_ORIGIN = 'http://localhost:4000';

let page: WebAuthnPage;
let sidecar: Sidecar;
let client: GrpcClient;

beforeAll(async () => {
  page = await WebAuthnPage.open();
  sidecar = await Sidecar.start({ env: webauthnSettings([page.origin, SOFT_ORIGIN]) });
  client = sidecar.client();
});
afterAll(async () => {
  await sidecar[Symbol.asyncDispose]();
  await page[Symbol.asyncDispose]();
});

async function person(subject: string, at = client): Promise<SignedIn> {
  return { subject, token: (await signIn(at, subject)).token };
}

/** Somebody with a key of software. */
async function keyHolder(subject: string, options: ConstructorParameters<typeof SoftwareAuthenticator>[0] = {}) {
  const key = new SoftwareAuthenticator({ origin: SOFT_ORIGIN, ...options });
  const ann = await person(subject);
  return { key, person: ann, factorId: await enrolKey(client, ann, key) };
}

const reasonOf = (error: unknown) => errorInfo(error).reason;

describe('a passkey in Chromium', () => {
  it('is enrolled, listed by its name, and proves a critical action', async () => {
    const ada = await person('ada');
    const factorId = await enrolKey(client, ada, page, { displayName: 'Laptop' });
    const { factors } = await client.unary(FactorService.method.listFactors, { subject: 'ada' });
    expect(factors.find(({ id }) => id === factorId)).toMatchObject({ displayName: 'Laptop', method: Method.WEBAUTHN });
    const receipt = await proveBy(client, ada, page);
    expect(decodeJwt(receipt)).toMatchObject({ sub: 'ada', amr: ['hwk', 'user', 'mfa'], acr: 'aal2' });
    await expect(proveBy(client, ada, page)).resolves.not.toBe('');
  });

  it('is not enrolled twice for one person: the browser is told of it', async () => {
    const ada = await person('ada');
    const receipt = await proveBy(client, ada, page, { action: 'factor.enroll', resource: 'factors/webauthn' });
    const { optionsJson } = await beginKey(client, ada, { receipt });
    await expect(page.register(optionsJson)).rejects.toThrow('InvalidStateError');
  });

  it('does not sign where its user cannot be verified and the action is critical', async () => {
    const ada = await person('ada');
    const options = await optionsOf(client, ada, await openFor(client, ada));
    expect(JSON.parse(options).userVerification).toBe('required');
    await page.setUserVerified(false);
    await expect(page.assert(options)).rejects.toThrow('NotAllowedError');
    await page.setUserVerified(true);
    await expect(page.assert(options)).resolves.toContain('signature');
  });
});

describe('an assertion', () => {
  const FLAWS: readonly (readonly [string, string, Bend])[] = [
    ['another origin', 'ORIGIN', { clientData: { origin: 'http://localhost:4001' } }],
    ['a frame of another site', 'CROSS_ORIGIN', { clientData: { crossOrigin: true, topOrigin: 'https://evil.net' } }],
    ['another domain', 'RP_ID', { rpId: 'evil.net' }],
    ['no user verification', 'USER_NOT_VERIFIED', { flags: FLAG.up }],
    ['nobody present', 'USER_NOT_PRESENT', { flags: FLAG.uv }],
    ['another type', 'TYPE', { clientData: { type: 'webauthn.create' } }],
    ['a wrong signature', 'SIGNATURE', { signature: (bytes) => Uint8Array.from(bytes).fill(1, 8) }],
  ];
  it.each(FLAWS)(
    'with %s is refused through the API, costs no attempt and is written down',
    async (_, refusal, bend) => {
      const { key, person: bob } = await keyHolder(`bob-${refusal}`);
      const challengeId = await openFor(client, bob);
      const flawed = key.assert(await optionsOf(client, bob, challengeId), bend);
      const { result } = await answerWith(client, bob, challengeId, flawed);
      expect(result).toMatchObject({ case: 'refused', value: { reason: RefusalReason.PROOF_WRONG } });
      const right = key.assert(await optionsOf(client, bob, challengeId));
      expect((await answerWith(client, bob, challengeId, right)).result.case).toBe('finished');
      const refused = await eventually(sidecar, { subject: bob.subject, types: ['challenge.refused'] });
      expect(refused.map((event) => factOf(event, 'refusal'))).toEqual([refusal]);
    },
  );

  it('of long ago is refused beside a live challenge', async () => {
    const { key, person: eve } = await keyHolder('eve');
    const first = await openFor(client, eve);
    const old = key.assert(await optionsOf(client, eve, first));
    expect((await answerWith(client, eve, first, old)).result.case).toBe('finished');
    const second = await openFor(client, eve);
    await optionsOf(client, eve, second);
    expect((await answerWith(client, eve, second, old)).result.case).toBe('refused');
  });

  it('is looked at once, however often and in parallel it is sent', async () => {
    const { key, person: fay } = await keyHolder('fay');
    const challengeId = await openFor(client, fay);
    const answer = key.assert(await optionsOf(client, fay, challengeId));
    const told = await Promise.allSettled(
      Array.from({ length: 20 }, () => answerWith(client, fay, challengeId, answer)),
    );
    const finished = told.filter((one) => one.status === 'fulfilled' && one.value.result.case === 'finished');
    expect(finished).toHaveLength(1);
  });

  it('leaves no second try on the same prompt', async () => {
    const { key, person: gus } = await keyHolder('gus');
    const challengeId = await openFor(client, gus);
    const options = await optionsOf(client, gus, challengeId);
    expect((await answerWith(client, gus, challengeId, '{}')).result.case).toBe('refused');
    expect((await answerWith(client, gus, challengeId, key.assert(options))).result.case).toBe('refused');
  });

  it('is asked for again by resend, which voids the prompt before', async () => {
    const { key, person: hew } = await keyHolder('hew');
    const challengeId = await openFor(client, hew);
    const older = await optionsOf(client, hew, challengeId);
    const { result } = await client.unary(ChallengeService.method.answerChallenge, {
      challengeId,
      sessionToken: hew.token,
      step: { case: 'resend', value: {} },
    });
    if (result.case !== 'prompt') throw new Error(`expected a prompt, got ${result.case}`);
    const newer = result.value.webauthnOptionsJson;
    expect(JSON.parse(newer).challenge).not.toBe(JSON.parse(older).challenge);
    expect((await answerWith(client, hew, challengeId, key.assert(newer))).result.case).toBe('finished');
  });

  it('holds for somebody who is locked: guesses of others do not keep the owner of a key out', async () => {
    const { key, person: ivy } = await keyHolder('ivy');
    const { challenge } = await client.unary(ChallengeService.method.openChallenge, {
      sessionToken: ivy.token,
      action: TRANSFER,
      sensitivity: Sensitivity.SENSITIVE,
    });
    const guess = () => answer(client, challenge?.id ?? '', ivy.token, backupCode('AAAA-AAAA-AAAA-AAAA'));
    const told = [];
    for (let guesses = 0; guesses < 5; guesses++) told.push((await guess()).end);
    expect(told.at(-1)).toBe('locked');
    await expect(proveBy(client, ivy, key)).resolves.not.toBe('');
  });

  it("of one person on another's challenge is refused", async () => {
    const [hal, ida] = [await keyHolder('hal'), await keyHolder('ida')];
    const challengeId = await openFor(client, ida.person);
    const answer = hal.key.assert(await optionsOf(client, ida.person, challengeId));
    expect((await answerWith(client, ida.person, challengeId, answer)).result.case).toBe('refused');
  });

  it('with a counter that does not grow is refused with an event; of two at once one gets through', async () => {
    const { key, person: jon, factorId } = await keyHolder('jon');
    await proveBy(client, jon, { register: () => '', assert: (options) => key.assert(options, { signCount: 7 }) });
    const copied = await openFor(client, jon);
    const behind = key.assert(await optionsOf(client, jon, copied), { signCount: 7 });
    const { result } = await answerWith(client, jon, copied, behind);
    expect(result).toMatchObject({ case: 'refused', value: { reason: RefusalReason.PROOF_REPLAYED } });
    const [event] = await eventually(sidecar, { subject: 'jon', types: ['factor.counter_regressed'] });
    expect(event).toMatchObject({ factorId });
    expect([factOf(event, 'stored'), factOf(event, 'shown')]).toEqual(['7', '7']);

    const challenges = await Promise.all([openFor(client, jon), openFor(client, jon)]);
    const answers = await Promise.all(
      challenges.map(async (id) => key.assert(await optionsOf(client, jon, id), { signCount: 8 })),
    );
    const told = await Promise.all(challenges.map((id, at) => answerWith(client, jon, id, answers[at] ?? '')));
    expect(told.map((one) => one.result.case).sort()).toEqual(['finished', 'refused']);
    expect(
      await eventually(sidecar, { subject: 'jon', types: ['factor.counter_regressed'] }, undefined, 2),
    ).toHaveLength(2);
  });
});

describe('an enrolment', () => {
  it('of a credential that somebody has is refused, for another person and for the same', async () => {
    const { key } = await keyHolder('kay');
    const mallory = await person('mallory');
    const { factorId, optionsJson } = await beginKey(client, mallory);
    const taken = await confirmKey(client, 'mallory', factorId, key.register(optionsJson)).catch(reasonOf);
    expect(taken).toBe('FACTOR_EXISTS');
    const { factors } = await client.unary(FactorService.method.listFactors, { subject: 'mallory' });
    expect(factors.filter(({ confirmTime }) => confirmTime !== undefined)).toEqual([]);
  });

  it('that was refused goes on with new options by the same request', async () => {
    const lea = await person('lea');
    const key = new SoftwareAuthenticator({ origin: SOFT_ORIGIN });
    const requestId = randomUUID();
    const { factorId, optionsJson } = await beginKey(client, lea, { requestId });
    const { challenge } = JSON.parse(optionsJson);
    expect(JSON.parse((await beginKey(client, lea, { requestId })).optionsJson)).toMatchObject({ challenge });
    const bent = key.register(optionsJson, { clientData: { origin: 'https://evil.net' } });
    expect(await confirmKey(client, 'lea', factorId, bent).catch(reasonOf)).toBe('PROOF_REFUSED');
    expect(await confirmKey(client, 'lea', factorId, key.register(optionsJson)).catch(reasonOf)).toBe('PROOF_REFUSED');
    const fresh = await beginKey(client, lea, { requestId });
    expect(fresh.factorId).toBe(factorId);
    const confirmed = await confirmKey(client, 'lea', factorId, key.register(fresh.optionsJson));
    expect(confirmed.backupCodes).toHaveLength(10);
  });

  it('keeps credential ids and public keys out of the files', async () => {
    const { key } = await keyHolder('max');
    const files = readdirSync(sidecar.dataDir).map((name) => readFileSync(`${sidecar.dataDir}/${name}`));
    expect(files.length).toBeGreaterThan(2);
    for (const bytes of files) {
      expect(bytes.includes(key.id)).toBe(false);
      expect(bytes.includes(Buffer.from(key.credentialId))).toBe(false);
    }
    expect(sidecar.stdout + sidecar.stderr).not.toContain(key.id);
  });
});

describe('two sidecars that share a database', () => {
  let fleet: Fleet;
  let a: GrpcClient;
  let b: GrpcClient;

  beforeAll(async () => {
    const settings = { ...UNHURRIED, ...webauthnSettings([page.origin, SOFT_ORIGIN]) };
    fleet = await startFleet({ sidecars: 2, settings });
    [a, b] = [fleet.client(0), fleet.client(1)];
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  it('enrol a passkey of Chromium across: begun on one, confirmed on the other, proven on both', async () => {
    const nia = await person('nia', a);
    const { factorId, optionsJson } = await beginKey(a, nia);
    await confirmKey(b, 'nia', factorId, await page.register(optionsJson));
    for (const [open, answer] of [
      [a, b],
      [b, a],
    ] as const) {
      const challengeId = await openFor(open, nia);
      const assertion = await page.assert(await optionsOf(open, nia, challengeId));
      const { result } = await answerWith(answer, nia, challengeId, assertion);
      expect(result).toMatchObject({ case: 'finished', value: { challenge: { state: ChallengeState.APPROVED } } });
    }
  });

  it('look at one assertion once between them', async () => {
    const ola = await person('ola', a);
    const key = new SoftwareAuthenticator({ origin: SOFT_ORIGIN });
    await enrolKey(a, ola, key);
    const challengeId = await openFor(a, ola);
    const answer = key.assert(await optionsOf(b, ola, challengeId));
    const told = await Promise.allSettled(
      Array.from({ length: 20 }, (_, at) => answerWith(at % 2 ? a : b, ola, challengeId, answer)),
    );
    expect(told.filter((one) => one.status === 'fulfilled' && one.value.result.case === 'finished')).toHaveLength(1);
  });

  it('void the prompt of the other when the method is chosen again', async () => {
    const pia = await person('pia', a);
    const key = new SoftwareAuthenticator({ origin: SOFT_ORIGIN });
    await enrolKey(a, pia, key);
    const challengeId = await openFor(a, pia);
    const older = await optionsOf(a, pia, challengeId);
    const newer = await optionsOf(b, pia, challengeId);
    expect((await answerWith(a, pia, challengeId, key.assert(older))).result.case).toBe('refused');
    expect((await answerWith(a, pia, challengeId, key.assert(newer))).result.case).toBe('refused');
    const newest = await optionsOf(b, pia, challengeId);
    expect((await answerWith(a, pia, challengeId, key.assert(newest))).result.case).toBe('finished');
  });

  it('refuse on one a key that was removed on the other, at once, even for a prompt that names it', async () => {
    const quin = await person('quin', a);
    const [kept, lost] = [0, 1].map(() => new SoftwareAuthenticator({ origin: SOFT_ORIGIN }));
    if (!kept || !lost) throw new Error('two keys are needed');
    await enrolKey(a, quin, kept);
    const receipt = await proveBy(a, quin, kept, { action: 'factor.enroll', resource: 'factors/webauthn' });
    const factorId = await enrolKey(b, quin, lost, { receipt });
    const challengeId = await openFor(b, quin);
    const answer = lost.assert(await optionsOf(b, quin, challengeId));
    const permit = await proveBy(a, quin, kept, { action: 'factor.remove', resource: `factors/${factorId}` });
    await a.unary(FactorService.method.removeFactor, { subject: 'quin', factorId, receipt: permit });
    expect((await answerWith(b, quin, challengeId, answer)).result.case).toBe('refused');
    expect(JSON.parse(await optionsOf(b, quin, await openFor(b, quin))).allowCredentials).toHaveLength(1);
  });

  it('have one owner for a credential that two people confirm at once', async () => {
    const key = new SoftwareAuthenticator({ origin: SOFT_ORIGIN });
    const people = await Promise.all([person('rex', a), person('sue', b)]);
    const begun = await Promise.all(people.map((one, at) => beginKey(at ? b : a, one)));
    const told = await Promise.allSettled(
      begun.map(({ factorId, optionsJson }, at) =>
        confirmKey(at ? b : a, people[at]?.subject ?? '', factorId, key.register(optionsJson)),
      ),
    );
    expect(told.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    const [refused] = told.filter((one) => one.status === 'rejected');
    expect(refused && reasonOf(refused.reason)).toBe('FACTOR_EXISTS');
  });
});
