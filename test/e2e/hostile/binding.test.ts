import { type DescMethod, type DescService, fromJsonString } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChallengePurpose, ChallengeService, ChallengeState } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { API_SERVICES } from '#src/transport/methods.ts';
import { connectCall } from '../../support/connect-call.ts';
import { errorInfo, type GrpcClient } from '../../support/grpc-client.ts';
import { type HarmWatch, watchHarm } from '../../support/harm-watch.ts';
import { enrolledPerson, openTransfer, signIn, TRANSFER } from '../../support/people.ts';
import { redeem, redeemBy } from '../../support/redeem.ts';
import { Sidecar } from '../../support/sidecar.ts';
import { answer, approvedTransfer, totp } from '../../support/step-up.ts';
import { eventually } from '../../support/trail-of.ts';

const { method: rpc } = ChallengeService;
const PRECONDITION = 9;
const DENIED = 7;
const UNAUTHENTICATED = 16;
const INVALID = 3;

let sidecar: Sidecar;
let client: GrpcClient;
let state: HarmWatch;
beforeAll(async () => {
  sidecar = await Sidecar.start({ env: { SALLYPORT_REALMS: '["shop","support"]' } });
  client = sidecar.client();
  await enrolledPerson(client, 'warm-up');
  state = await watchHarm(sidecar);
});
afterAll(async () => {
  // Slow hashes of a dozen enrolments work in memory of their own, which the process keeps.
  await state.unharmed(160);
  await sidecar[Symbol.asyncDispose]();
});

/** Every way to act on a challenge; each answers the reason of the refusal, or `done`. */
function waysAt(challengeId: string, sessionToken: string, realm = ''): readonly [string, () => Promise<string>][] {
  const ref = { realm, challengeId, sessionToken };
  const reason = (call: Promise<unknown>) =>
    call.then(
      () => 'done',
      (error: unknown) => errorInfo(error).reason,
    );
  const streamed = (stream: NodeJS.ReadableStream & { cancel(): void }) =>
    new Promise<string>((resolve) => {
      stream.on('data', () => resolve('done'));
      stream.on('error', (error) => resolve(errorInfo(error).reason));
      stream.on('end', () => resolve('done'));
    }).finally(() => stream.cancel());
  return [
    ['GetChallenge', () => reason(client.unary(rpc.getChallenge, ref))],
    ['CancelChallenge', () => reason(client.unary(rpc.cancelChallenge, ref))],
    ['AnswerChallenge', () => reason(client.unary(rpc.answerChallenge, { ...ref, step: totp('000000') }))],
    [
      'AnswerChallenge, choose',
      () =>
        reason(client.unary(rpc.answerChallenge, { ...ref, step: { case: 'choose', value: { method: Method.TOTP } } })),
    ],
    ['WatchChallenge', () => streamed(client.serverStream(rpc.watchChallenge, ref))],
    [
      'VerifyChallenge',
      () => {
        const stream = client.bidi(rpc.verifyChallenge);
        stream.write({ command: { case: 'resume', value: ref } });
        return streamed(stream);
      },
    ],
  ];
}

describe('a challenge', () => {
  it('is not there for any other session, subject, realm, or for none, on every RPC; nothing is spent', async () => {
    const person = await enrolledPerson(client, 'bound');
    const challengeId = await openTransfer(client, person);
    const sameSubject = await signIn(client, 'bound');
    const stranger = await signIn(client, 'stranger');
    const twin = await client.unary(SessionService.method.createSession, { realm: 'support', subject: 'bound' });
    const attempts: readonly [string, string, string][] = [
      ['another session of the same person', sameSubject.token, ''],
      ['a session of somebody else', stranger.token, ''],
      ['no session', '', ''],
      ['the id of the right session', person.sessionId, ''],
      ['the right session in another realm', person.token, 'support'],
      ['the same name in another realm', twin.token, 'support'],
      ['the same name in another realm, asking here', twin.token, 'shop'],
    ];
    for (const [who, token, realm] of attempts)
      for (const [way, act] of waysAt(challengeId, token, realm))
        expect(await act(), `${who}: ${way}`).toBe('CHALLENGE_NOT_FOUND');
    const { challenge } = await client.unary(rpc.getChallenge, { challengeId, sessionToken: person.token });
    expect(challenge?.state).toBe(ChallengeState.PENDING);
    const told = await answer(client, challengeId, person.token, totp('000000'));
    expect(told.attemptsLeft).toBe(4);
    expect((await answer(client, challengeId, person.token, totp(person.nextCode()))).end).toBe('approved');
    const events = await eventually(sidecar, { challengeId }, (event) => event.reason === 'NOT_OWNER');
    expect(events[0]).toMatchObject({ type: 'request.refused', subject: 'bound', realm: 'shop' });
  });

  it('without a session is there only for the caller that opened it', async () => {
    await enrolledPerson(client, 'unbound');
    const opened = await client.unary(rpc.openChallenge, {
      subject: 'unbound',
      purpose: ChallengePurpose.LOGIN,
    });
    const challengeId = opened.challenge?.id ?? '';
    for (const name of ['GetChallenge', 'CancelChallenge']) {
      const elsewhere = await connectCall(sidecar.httpUrl, `${ChallengeService.typeName}/${name}`, { challengeId });
      expect(elsewhere, name).toMatchObject({ status: 404, reason: 'CHALLENGE_NOT_FOUND' });
    }
    const guess = await connectCall(sidecar.httpUrl, `${ChallengeService.typeName}/AnswerChallenge`, {
      challengeId,
      proof: { totp: { code: '000000' } },
    });
    expect(guess).toMatchObject({ status: 404, reason: 'CHALLENGE_NOT_FOUND' });
    const { challenge } = await client.unary(rpc.getChallenge, { challengeId });
    expect(challenge?.state).toBe(ChallengeState.PENDING);
  });

  it('cannot be opened for somebody else than the session, nor with a session that is not good', async () => {
    const mine = await signIn(client, 'mine');
    const other = await client
      .unary(rpc.openChallenge, { subject: 'victim', sessionToken: mine.token, action: TRANSFER })
      .catch(errorInfo);
    expect(other).toMatchObject({ code: DENIED, reason: 'NOT_OWNER' });
    const dead = await client
      .unary(rpc.openChallenge, { subject: 'mine', sessionToken: 'sps_dead', action: TRANSFER })
      .catch(errorInfo);
    expect(dead).toMatchObject({ code: UNAUTHENTICATED, reason: 'SESSION_INVALID' });
    const [event] = await eventually(sidecar, { realm: 'shop', subject: 'victim', types: ['request.refused'] });
    expect(event).toMatchObject({ reason: 'NOT_OWNER' });
  });

  it('takes no weaker method than the policy wants, neither at opening nor by choice', async () => {
    const person = await enrolledPerson(client, 'downgraded');
    const critical = { sessionToken: person.token, action: TRANSFER, sensitivity: Sensitivity.CRITICAL };
    for (const weaker of [{ method: Method.BACKUP_CODE }, { methods: [Method.BACKUP_CODE] }, { method: Method.SMS }]) {
      const refused = await client.unary(rpc.openChallenge, { ...critical, ...weaker }).catch(errorInfo);
      expect(refused).toMatchObject({ code: PRECONDITION });
      expect(['METHOD_NOT_OFFERED', 'MFA_NOT_ENROLLED']).toContain((refused as { reason: string }).reason);
    }
    const opened = await client.unary(rpc.openChallenge, critical);
    expect(opened.challenge?.methods.map((offer) => offer.method)).toEqual([Method.TOTP]);
    const chosen = await client
      .unary(rpc.answerChallenge, {
        challengeId: opened.challenge?.id ?? '',
        sessionToken: person.token,
        step: { case: 'choose', value: { method: Method.BACKUP_CODE } },
      })
      .catch(errorInfo);
    expect(chosen).toMatchObject({ code: PRECONDITION, reason: 'METHOD_NOT_OFFERED' });
    const events = await eventually(
      sidecar,
      { realm: 'shop', subject: 'downgraded' },
      (event) => event.reason === 'METHOD_NOT_OFFERED',
    );
    expect(events.length).toBeGreaterThan(0);
  });
});

describe('a challenge handle', () => {
  // Before MFA there is no session: what only the challenge RPCs accept must be worth nothing elsewhere.
  const takesSession = API_SERVICES.flatMap((service: DescService) =>
    service.methods
      .filter((method) => method.methodKind === 'unary')
      .flatMap((method) =>
        method.input.fields
          .filter((field) => ['token', 'session_token', 'except_token', 'receipt'].includes(field.name))
          .map((field) => ({ name: `${service.typeName}/${method.name}`, method, field: field.jsonName })),
      ),
  );

  it('is known to be taken by enough RPCs for this to mean something', () => {
    expect(takesSession.length).toBeGreaterThan(12);
  });

  it.each(takesSession)('is no session and no receipt: $name, $field', async ({ name, method, field }) => {
    const { challenge } = await client.unary(rpc.openChallenge, {
      subject: 'warm-up',
      purpose: ChallengePurpose.LOGIN,
    });
    const { sessions: liveBefore } = await client.unary(SessionService.method.listSessions, { subject: 'warm-up' });
    const { factors: factorsBefore } = await client.unary(FactorService.method.listFactors, { subject: 'warm-up' });
    const answered = await callWith(method, { ...plausible(method), [field]: challenge?.id ?? '' });
    await client.unary(rpc.cancelChallenge, { challengeId: challenge?.id ?? '' });
    expect(answered.code, `${name} ${answered.reason}`).not.toBe(0);
    expect([
      'SESSION_INVALID',
      'RECEIPT_INVALID',
      'CHALLENGE_NOT_FOUND',
      'STEP_UP_REQUIRED',
      'FACTOR_NOT_FOUND',
      'NOT_IMPLEMENTED',
    ]).toContain(answered.reason);
    const { sessions } = await client.unary(SessionService.method.listSessions, { subject: 'warm-up' });
    expect(sessions).toHaveLength(liveBefore.length);
    const { factors } = await client.unary(FactorService.method.listFactors, { subject: 'warm-up' });
    expect(factors).toHaveLength(factorsBefore.length);
  });

  /** A request that would be good but for the credential. */
  function plausible(method: DescMethod): Record<string, unknown> {
    const values: Readonly<Record<string, unknown>> = {
      subject: 'warm-up',
      method: 'METHOD_TOTP',
      consent: { textVersion: '1', language: 'en' },
      factorId: `fac_${'0'.repeat(26)}`,
      challengeId: `chl_${'0'.repeat(26)}`,
      action: { resource: 'r', action: 'a' },
      receipt: 'r',
      proof: { totp: { code: '000000' } },
      returnTo: 'https://shop.example/',
    };
    const known = new Set(method.input.fields.map((field) => field.jsonName));
    const oneofs = method.input.oneofs.flatMap((oneof) => oneof.fields.map((field) => field.jsonName));
    return Object.fromEntries(
      Object.entries(values).filter(([name]) => known.has(name) && (!oneofs.includes(name) || name === 'proof')),
    );
  }

  async function callWith(method: DescMethod, json: object) {
    const request = fromJsonString(method.input, JSON.stringify(json), { ignoreUnknownFields: true });
    return client.unary(method, request as never).then(() => ({ code: 0, reason: '' }), errorInfo);
  }
});

describe('a realm', () => {
  it('shares nothing with another: sessions, factors, challenges and receipts are not there', async () => {
    const person = await enrolledPerson(client, 'citizen');
    const receipt = await approvedTransfer(client, person);
    const there = { realm: 'support' } as const;
    const { method: session } = SessionService;
    const { method: factor } = FactorService;
    const calls: readonly [string, () => Promise<unknown>, string][] = [
      [
        'ValidateSession',
        () => client.unary(session.validateSession, { ...there, token: person.token }),
        'SESSION_INVALID',
      ],
      [
        'UpdateSession',
        () => client.unary(session.updateSession, { ...there, token: person.token }),
        'SESSION_INVALID',
      ],
      [
        'GetSession',
        () => client.unary(session.getSession, { ...there, sessionId: person.sessionId }),
        'SESSION_NOT_FOUND',
      ],
      [
        'RevokeSession',
        () =>
          client.unary(session.revokeSession, {
            ...there,
            session: { case: 'sessionId', value: person.sessionId },
            subject: 'citizen',
          }),
        'SESSION_NOT_FOUND',
      ],
      [
        'BeginEnrollment',
        () =>
          client.unary(factor.beginEnrollment, {
            ...there,
            subject: 'citizen',
            method: Method.TOTP,
            sessionToken: person.token,
            consent: { textVersion: '1', language: 'en' },
          }),
        'SESSION_INVALID',
      ],
      [
        'ConfirmEnrollment',
        () =>
          client.unary(factor.confirmEnrollment, {
            ...there,
            subject: 'citizen',
            factorId: person.factorId,
            proof: { case: 'code', value: '000000' },
          }),
        'FACTOR_NOT_FOUND',
      ],
      [
        'RemoveFactor',
        () => client.unary(factor.removeFactor, { ...there, subject: 'citizen', factorId: person.factorId, receipt }),
        'RECEIPT_INVALID',
      ],
    ];
    for (const [name, call, reason] of calls) expect(await call().catch(errorInfo), name).toMatchObject({ reason });
    expect(await redeem(client, receipt, { ...redeemBy(person), ...there })).toMatchObject({
      reason: 'RECEIPT_INVALID',
    });
    expect((await client.unary(factor.listFactors, { ...there, subject: 'citizen' })).factors).toEqual([]);
    expect((await client.unary(session.listSessions, { ...there, subject: 'citizen' })).sessions).toEqual([]);
    // Nothing was harmed at home.
    await client.unary(session.validateSession, { token: person.token });
    expect(await redeem(client, receipt, redeemBy(person))).toMatchObject({ reason: 'redeemed' });
  });

  it.each(['nowhere', '__proto__', 'constructor', 'SHOP', 'shop ', 'shop\0', '*'])(
    'called "%s" is not served',
    async (realm) => {
      const refused = await client.unary(SessionService.method.createSession, { realm, subject: 's' }).catch(errorInfo);
      expect(refused).toMatchObject({ code: INVALID, reason: 'REALM_UNKNOWN' });
    },
  );
});
