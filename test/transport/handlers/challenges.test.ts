import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import {
  AnswerChallengeRequestSchema,
  ApprovalReason,
  CancelChallengeRequestSchema,
  ChallengePurpose,
  ChallengeState,
  DeliveryStatus,
  GetChallengeRequestSchema,
  OpenChallengeRequestSchema,
  RedeemReceiptRequestSchema,
  RefusalReason,
} from '#src/gen/sallyport/v1/challenge_pb.js';
import { Method, Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import type { CallContext } from '#src/transport/call.ts';
import { challengeHandlers } from '#src/transport/handlers/challenges.ts';
import { APP, challengeWorld, factorOf, PORTAL, REALM } from '../../support/challenge-world.ts';

const ACTION = { resource: 'accounts/42', action: 'transfer.create', details: { amount: '900 EUR', to: 'Eve' } };

function api(world = challengeWorld(), caller = APP) {
  const handlers = challengeHandlers({ ...world, realms: { names: new Set([REALM, 'other']), defaultRealm: REALM } });
  const call: CallContext = {
    caller,
    protocol: 'connect',
    procedure: '',
    signal: new AbortController().signal,
    ended: undefined,
    remainingMs: () => 1_000,
  };
  return {
    world,
    open: async (request: MessageInitShape<typeof OpenChallengeRequestSchema> = {}) =>
      handlers.openChallenge(
        create(OpenChallengeRequestSchema, {
          subject: 'ann',
          action: ACTION,
          sensitivity: Sensitivity.CRITICAL,
          ...request,
        } as typeof request),
        call,
      ),
    answer: async (request: MessageInitShape<typeof AnswerChallengeRequestSchema>) =>
      handlers.answerChallenge(create(AnswerChallengeRequestSchema, request), call),
    get: async (challengeId: string) => handlers.getChallenge(create(GetChallengeRequestSchema, { challengeId }), call),
    cancel: async (challengeId: string) =>
      handlers.cancelChallenge(create(CancelChallengeRequestSchema, { challengeId }), call),
    redeem: async (request: MessageInitShape<typeof RedeemReceiptRequestSchema>) =>
      handlers.redeemReceipt(create(RedeemReceiptRequestSchema, request), call),
  };
}

const proof = (code: string) => ({
  case: 'proof' as const,
  value: { kind: { case: 'totp' as const, value: { code } } },
});

describe('the unary twin of the stream', () => {
  it('opens, refuses, approves and redeems with every field in its place', async () => {
    const { world, open, answer, get, redeem } = api();
    const { challenge } = await open({ method: Method.TOTP });
    const id = challenge?.id ?? '';
    expect(challenge).toMatchObject({
      realm: REALM,
      subject: 'ann',
      purpose: ChallengePurpose.ACTION,
      sensitivity: Sensitivity.CRITICAL,
      state: ChallengeState.PENDING,
      approvalReason: ApprovalReason.UNSPECIFIED,
      action: { ...ACTION, digest: expect.stringMatching(/^sha-256:/) },
      methods: [{ method: Method.TOTP, factorId: 'fac_totp', displayName: 'my totp' }],
      chosenMethod: Method.TOTP,
      createTime: { seconds: BigInt(world.clock.now() / 1000) },
      expireTime: { seconds: BigInt(world.clock.now() / 1000 + 60) },
    });
    expect(await answer({ challengeId: id, step: proof('wrong') })).toEqual({
      result: { case: 'refused', value: { attemptsLeft: 4, reason: RefusalReason.PROOF_WRONG } },
    });
    const { result } = await answer({ challengeId: id, step: proof('right-1') });
    expect(result).toMatchObject({
      case: 'finished',
      value: { challenge: { state: ChallengeState.APPROVED, approvalReason: ApprovalReason.PROOF } },
    });
    const { receipt } = await get(id);
    const redeemed = await redeem({ receipt: receipt?.token ?? '', subject: 'ann', action: ACTION });
    expect(redeemed).toMatchObject({
      challengeId: id,
      subject: 'ann',
      sessionId: '',
      amr: ['otp', 'mfa'],
      acr: 'aal2',
      approvalReason: ApprovalReason.PROOF,
    });
  });

  it('chooses, cancels, and says that nothing can be sent again', async () => {
    const { open, answer, cancel } = api();
    const { challenge } = await open();
    const challengeId = challenge?.id ?? '';
    const choose = { case: 'choose' as const, value: { method: Method.TOTP } };
    expect(await answer({ challengeId, step: choose })).toEqual({
      result: { case: 'prompt', value: { method: Method.TOTP, factorId: 'fac_totp' } },
    });
    const resend = { case: 'resend' as const, value: {} };
    await expect(answer({ challengeId, step: resend })).rejects.toMatchObject({ reason: 'METHOD_NOT_OFFERED' });
    expect((await cancel(challengeId)).challenge).toMatchObject({ state: ChallengeState.CANCELLED });
  });

  it('sends again once for one request id', async () => {
    const world = challengeWorld({ policy: { methods: ['totp', 'sms'] } });
    world.factors.push(factorOf('sms'));
    const { open, answer } = api(world);
    const { challenge } = await open({ sensitivity: Sensitivity.SENSITIVE, method: Method.SMS });
    const request = { challengeId: challenge?.id ?? '', step: { case: 'resend' as const, value: {} } };
    const requestId = '7f1b4d9e-0000-4000-8000-000000000001';
    for (let repeat = 0; repeat < 3; repeat += 1) await answer({ ...request, requestId });
    expect(world.methods.sms.prompts.filter(({ again }) => again)).toHaveLength(1);
    await answer(request);
    expect(world.methods.sms.prompts.filter(({ again }) => again)).toHaveLength(2);
  });

  it('shows what each method has to show, and how far a message got, with what there is instead', async () => {
    const world = challengeWorld({ policy: { methods: ['totp', 'sms', 'push', 'webauthn'] } });
    world.factors.push(factorOf('sms'), factorOf('push'), factorOf('webauthn'));
    const { open, answer, get } = api(world);
    const sensitive = { sensitivity: Sensitivity.SENSITIVE };
    const { challenge, prompt } = await open({ ...sensitive, method: Method.SMS });
    expect(prompt).toMatchObject({ method: Method.SMS, factorId: 'fac_sms', destination: '+1 *** ***-**42' });
    const challengeId = challenge?.id ?? '';
    const choose = (method: Method) => answer({ challengeId, step: { case: 'choose', value: { method } } });
    expect(await choose(Method.PUSH)).toMatchObject({ result: { value: { method: Method.PUSH, number: '42' } } });
    expect(await choose(Method.WEBAUTHN)).toMatchObject({ result: { value: { webauthnOptionsJson: '{}' } } });
    const stored = world.state.get(REALM, challengeId);
    if (!stored) throw new Error('it is there');
    const delivery = { id: 'dlv_1', method: 'sms', factorId: 'fac_sms', resendable: true, at: 1_500 } as const;
    await world.deliveries.note(stored, { ...delivery, status: 'SENT', reason: '' });
    const sent = { method: Method.SMS, factorId: 'fac_sms', resendable: true, updateTime: { seconds: 1n, nanos: 5e8 } };
    expect((await get(challengeId)).challenge?.delivery).toMatchObject({
      ...sent,
      status: DeliveryStatus.SENT,
      reason: '',
      instead: [],
    });
    await world.deliveries.note(stored, { ...delivery, status: 'FAILED', reason: 'UNREACHABLE' });
    expect((await get(challengeId)).challenge?.delivery).toMatchObject({
      ...sent,
      status: DeliveryStatus.FAILED,
      reason: 'UNREACHABLE',
      instead: [Method.TOTP, Method.PUSH, Method.WEBAUTHN],
    });
  });

  it('carries the token of a trusted device there and back', async () => {
    const { world, open } = api();
    world.devices.nextOf.set('ann old', 'new');
    const login = { purpose: ChallengePurpose.LOGIN, sensitivity: Sensitivity.SENSITIVE, trustedDeviceToken: 'old' };
    const opened = await open({ ...login, language: 'sv', client: { ipAddress: '203.0.113.9' } });
    expect(opened).toMatchObject({
      trustedDeviceToken: 'new',
      challenge: { state: ChallengeState.APPROVED, approvalReason: ApprovalReason.TRUSTED_DEVICE },
    });
    expect(world.devices.asked).toMatchObject([
      { token: 'old', purpose: 'login', client: { ipAddress: '203.0.113.9' } },
    ]);
  });

  it('names an action of its own for signing in and for stepping up, and wants one for everything else', async () => {
    const { open } = api();
    const login = await open({ purpose: ChallengePurpose.LOGIN, action: undefined as never });
    expect(login.challenge?.action).toMatchObject({ resource: 'sessions', action: 'session.create' });
    const stepUp = await open({ purpose: ChallengePurpose.STEP_UP, action: undefined as never });
    expect(stepUp.challenge?.action).toMatchObject({ resource: 'sessions', action: 'session.step_up' });
    await expect(open({ action: undefined as never })).rejects.toMatchObject({ reason: 'FIELD_INVALID' });
  });

  it('refuses what says nothing: a step, a proof, a method, a realm that is not served', async () => {
    const { world, open, answer } = api();
    const { challenge } = await open();
    const challengeId = challenge?.id ?? '';
    await expect(answer({ challengeId })).rejects.toMatchObject({ kind: 'invalid' });
    await expect(answer({ challengeId, step: { case: 'proof', value: {} } })).rejects.toMatchObject({
      kind: 'invalid',
    });
    await expect(open({ methods: [Method.UNSPECIFIED] })).rejects.toMatchObject({ kind: 'invalid' });
    await expect(open({ realm: 'nowhere' })).rejects.toMatchObject({ reason: 'REALM_UNKNOWN' });
    expect(world.budget()).toBeUndefined();
  });

  it('tells the portal nothing but that a proof was refused', async () => {
    const { world, open } = api();
    const { challenge } = await open();
    const { answer } = api(world, PORTAL);
    expect(await answer({ challengeId: challenge?.id ?? '', step: proof('wrong') })).toEqual({
      result: { case: 'refused', value: { attemptsLeft: 0, reason: RefusalReason.UNSPECIFIED } },
    });
  });

  it('knows nothing of a challenge in another realm', async () => {
    const { world, open } = api();
    const { challenge } = await open();
    const ref = { realm: 'other', challengeId: challenge?.id ?? '', sessionToken: '' };
    await expect(world.challenges.read(APP, ref)).rejects.toMatchObject({ reason: 'CHALLENGE_NOT_FOUND' });
  });
});
