import { describe, expect, it } from 'vitest';
import { actionDigest } from '#src/domain/action.ts';
import type { Caller } from '#src/domain/caller.ts';
import { MINUTE } from '#src/domain/time.ts';
import {
  APP,
  challengeWorld,
  factorOf,
  GATEWAY,
  OTHER_APP,
  openCommand,
  PORTAL,
  REALM,
  refOf,
  totp,
} from '../../support/challenge-world.ts';
import { policyRule } from '../../support/policies.ts';

const OPERATOR: Caller = { roles: new Set(['operator']), name: 'admin', correlationId: 'corr-op' };

describe('opening a challenge', () => {
  it('binds it to person, session, action digest, offered methods and policy rule, and records it', async () => {
    const world = challengeWorld();
    const session = world.sessions.give('tok');
    const command = openCommand({ subject: '', sessionToken: 'tok' });
    const { challenge, receipt, prompt } = await world.challenges.open(APP, command);
    expect(challenge).toMatchObject({
      state: 'PENDING',
      subject: 'ann',
      sessionId: session.id,
      openedBy: 'grpc',
      audience: REALM,
      actionDigest: actionDigest(REALM, 'ann', command.action),
      offers: [{ method: 'totp', factorId: 'fac_totp', displayName: 'my totp' }],
      expiresAt: world.clock.now() + MINUTE,
    });
    expect([receipt, prompt]).toEqual([undefined, undefined]);
    expect(world.state.events).toMatchObject([
      { type: 'challenge.opened', challengeId: challenge.id, sessionId: session.id, outcome: 'INFO' },
    ]);
  });

  it('never lives longer than ten minutes, whatever the settings say', async () => {
    const ttlMs = { action: 99 * MINUTE, login: MINUTE, factor_change: MINUTE, step_up: MINUTE };
    const world = challengeWorld({ policy: { ttlMs } });
    const { challenge } = await world.challenges.open(APP, openCommand());
    expect(challenge.expiresAt - challenge.createdAt).toBe(10 * MINUTE);
  });

  it('chooses a method at once and says what to show', async () => {
    const world = challengeWorld();
    const opened = await world.challenges.open(APP, openCommand({ method: 'totp' }));
    expect(opened.prompt).toEqual({ method: 'totp', factorId: 'fac_totp' });
    expect(opened.challenge).toMatchObject({ state: 'PENDING', chosenMethod: 'totp' });
  });

  it('offers no backup code set that is used up and no pending factor', async () => {
    const world = challengeWorld();
    world.factors.splice(0, 2, factorOf('backup_code', { codesLeft: 0 }), factorOf('totp', { state: 'PENDING' }));
    const opened = world.challenges.open(APP, openCommand({ purpose: 'login', sensitivity: 'sensitive' }));
    await expect(opened).rejects.toMatchObject({ reason: 'MFA_NOT_ENROLLED' });
  });
});

describe('a challenge that needs no proof', () => {
  it.each([
    ['MFA_DISABLED', { policy: { mfaEnabled: false } }, {}],
    ['NOT_REQUIRED', {}, { sensitivity: 'low' as const }],
    ['RECENT_MFA', {}, { sensitivity: 'sensitive' as const, sessionToken: 'tok' }],
  ])('is approved at once with reason %s, a receipt, and a durable event', async (reason, options, over) => {
    const world = challengeWorld(options);
    world.sessions.give('tok', { mfaAt: world.clock.now() - 1_000 });
    const { challenge, receipt } = await world.challenges.open(APP, openCommand(over));
    expect(challenge).toMatchObject({ state: 'APPROVED', approvalReason: reason, offers: [] });
    expect(await world.receipts.verify(REALM, receipt?.token ?? '')).toMatchObject({
      approvalReason: reason,
      amr: reason === 'RECENT_MFA' ? ['mfa'] : [],
      acr: reason === 'RECENT_MFA' ? 'aal2' : 'aal1',
    });
    expect(world.state.events).toMatchObject([{ type: 'challenge.bypassed', outcome: 'SUCCESS', reason }]);
    expect(world.metrics.count('challengeEnded', 'none', 'APPROVED', reason)).toBe(1);
  });

  it('still needs the session that the policy asks for', async () => {
    const world = challengeWorld();
    const ask = (over: Parameters<typeof openCommand>[0]) =>
      world.challenges.open(APP, openCommand({ sensitivity: 'normal', ...over }));
    await expect(ask({})).rejects.toMatchObject({ kind: 'unauthenticated', reason: 'SESSION_INVALID' });
    expect(world.state.events).toEqual([]);
    expect(world.audit.events).toMatchObject([{ type: 'request.refused', reason: 'SESSION_INVALID', subject: 'ann' }]);
    world.sessions.give('tok');
    expect((await ask({ sessionToken: 'tok' })).challenge).toMatchObject({
      state: 'APPROVED',
      approvalReason: 'NOT_REQUIRED',
    });
  });

  it('is not granted when the store cannot record it', async () => {
    const world = challengeWorld({ policy: { mfaEnabled: false } });
    world.state.failure = new Error('disk full');
    await expect(world.challenges.open(APP, openCommand())).rejects.toThrow('disk full');
  });
});

describe('a refusal to open', () => {
  it('follows a policy that denies', async () => {
    const world = challengeWorld({ policy: { rules: [policyRule({ require: 'deny' })] } });
    await expect(world.challenges.open(APP, openCommand())).rejects.toMatchObject({
      kind: 'denied',
      reason: 'POLICY_DENIED',
    });
    expect(world.eventsOf('request.refused')).toMatchObject([{ reason: 'POLICY_DENIED', subject: 'ann' }]);
  });

  it('says which factors would do when the person has none of them', async () => {
    const world = challengeWorld();
    world.factors.splice(0, 1);
    await expect(world.challenges.open(APP, openCommand())).rejects.toMatchObject({
      kind: 'precondition',
      reason: 'MFA_NOT_ENROLLED',
      details: { preconditions: expect.arrayContaining([expect.objectContaining({ subject: 'totp' })]) },
    });
    expect(world.eventsOf('request.refused')).toMatchObject([{ reason: 'MFA_NOT_ENROLLED' }]);
  });

  it.each([
    ['named among others', { methods: ['totp' as const, 'backup_code' as const] }],
    ['chosen at once', { method: 'backup_code' as const }],
    ['narrowed away and then chosen', { methods: ['webauthn' as const], method: 'totp' as const }],
  ])('meets a method that the policy does not take here, %s', async (_how, over) => {
    const world = challengeWorld();
    world.factors.push(factorOf('webauthn'));
    await expect(world.challenges.open(APP, openCommand(over))).rejects.toMatchObject({
      reason: 'METHOD_NOT_OFFERED',
    });
    expect(world.eventsOf('request.refused')).toMatchObject([{ reason: 'METHOD_NOT_OFFERED' }]);
  });

  it('meets a session that is not good, or somebody else’s', async () => {
    const world = challengeWorld();
    world.sessions.give('bobs', { subject: 'bob' });
    await expect(world.challenges.open(APP, openCommand({ sessionToken: 'gone' }))).rejects.toMatchObject({
      kind: 'unauthenticated',
      reason: 'SESSION_INVALID',
    });
    await expect(world.challenges.open(APP, openCommand({ sessionToken: 'bobs' }))).rejects.toMatchObject({
      kind: 'denied',
      reason: 'NOT_OWNER',
    });
    expect(world.eventsOf('request.refused').map(({ reason }) => reason)).toEqual(['SESSION_INVALID', 'NOT_OWNER']);
  });

  it('meets more open challenges than a person may have, counting only those in time', async () => {
    const world = challengeWorld({ maxOpenChallenges: 2 });
    await Promise.allSettled(Array.from({ length: 10 }, () => world.challenges.open(APP, openCommand())));
    expect(world.state.challenges.size).toBe(2);
    await expect(world.challenges.open(APP, openCommand())).rejects.toMatchObject({
      kind: 'limited',
      reason: 'LIMIT_EXCEEDED',
    });
    expect(world.eventsOf('limit.hit')).toHaveLength(9);
    world.clock.advance(MINUTE);
    await world.challenges.open(APP, openCommand());
  });

  it('meets a locked person, and says how long', async () => {
    const world = challengeWorld();
    const { challenge } = await world.challenges.open(APP, openCommand());
    for (let i = 0; i < 5; i++) {
      await world.verification.answer(APP, { ...refOf(challenge), proof: totp('wrong'), requestId: '' });
    }
    world.clock.advance(MINUTE);
    await expect(world.challenges.open(APP, openCommand())).rejects.toMatchObject({
      kind: 'limited',
      reason: 'SUBJECT_LOCKED',
      details: { retryAfterMs: 14 * MINUTE },
    });
    expect(world.eventsOf('request.refused')).toMatchObject([{ reason: 'SUBJECT_LOCKED' }]);
    // A method that nobody can guess stays usable, so a lock is no weapon.
    world.factors.push(factorOf('webauthn'));
    const { challenge: still } = await world.challenges.open(APP, openCommand());
    expect(still.offers.map(({ method }) => method)).toContain('webauthn');
  });
});

describe('a repeated opening', () => {
  const requestId = '5f2b7d9a-3c1e-4f60-8a7b-0d9e8c7b6a51';

  it('answers the same challenge, as it stands, with one event', async () => {
    const world = challengeWorld();
    const opened = await Promise.all(
      Array.from({ length: 10 }, () => world.challenges.open(APP, openCommand({ requestId }))),
    );
    const ids = new Set(opened.map(({ challenge }) => challenge.id));
    expect(ids.size).toBe(1);
    const [first] = opened;
    if (!first) throw new Error('nothing opened');
    await world.verification.answer(APP, { ...refOf(first.challenge), proof: totp('right-1'), requestId: '' });
    const later = await world.sidecar().challenges.open(APP, openCommand({ requestId }));
    expect(later.challenge).toMatchObject({ id: first.challenge.id, state: 'APPROVED' });
    expect(later.receipt).toBeDefined();
    expect(world.eventsOf('challenge.opened')).toHaveLength(1);
  });

  it('with anything else in it is refused and audited', async () => {
    const world = challengeWorld();
    await world.challenges.open(APP, openCommand({ requestId }));
    const changed = openCommand({ requestId, audience: 'other' });
    await expect(world.challenges.open(APP, changed)).rejects.toMatchObject({ reason: 'REQUEST_ID_REUSED' });
    expect(world.eventsOf('request.refused')).toMatchObject([{ reason: 'REQUEST_ID_REUSED' }]);
  });

  it('of another caller is another request', async () => {
    const world = challengeWorld();
    const mine = await world.challenges.open(APP, openCommand({ requestId }));
    const theirs = await world.challenges.open(OTHER_APP, openCommand({ requestId }));
    expect(theirs.challenge.id).not.toBe(mine.challenge.id);
  });
});

describe('who may be at a challenge', () => {
  it('with a session: whoever brings a good token of the same session, rotated or not, through any caller', async () => {
    const world = challengeWorld();
    const session = world.sessions.give('tok');
    const { challenge } = await world.challenges.open(APP, openCommand({ sessionToken: 'tok' }));
    world.sessions.byToken.delete('tok');
    world.sessions.give('rotated', { id: session.id });
    for (const caller of [APP, OTHER_APP, PORTAL, GATEWAY]) {
      const { challenge: read } = await world.challenges.read(caller, refOf(challenge, 'rotated'));
      expect(read.id).toBe(challenge.id);
    }
  });

  it('without a session: the caller that opened it, and the portal', async () => {
    const world = challengeWorld();
    const { challenge } = await world.challenges.open(APP, openCommand());
    await world.challenges.read(APP, refOf(challenge));
    await world.challenges.read(PORTAL, refOf(challenge));
    await expect(world.challenges.read(OTHER_APP, refOf(challenge))).rejects.toMatchObject({ kind: 'not-found' });
  });

  it('learns nothing else: foreign, unknown and malformed ids look alike in every call', async () => {
    const world = challengeWorld();
    world.sessions.give('tok');
    world.sessions.give('other', { id: 'ses_other' });
    const { challenge } = await world.challenges.open(APP, openCommand({ sessionToken: 'tok' }));
    const real = refOf(challenge);
    const refs = [
      { ...real, sessionToken: 'other' },
      { ...real, sessionToken: '' },
      { ...real, sessionToken: 'nonsense' },
      { ...real, realm: 'elsewhere', sessionToken: 'tok' },
      { ...real, challengeId: `chl_${'0'.repeat(26)}`, sessionToken: 'tok' },
      { ...real, challengeId: 'chl_?', sessionToken: 'tok' },
    ];
    for (const ref of refs) {
      const calls = [
        world.challenges.read(APP, ref),
        world.challenges.cancel(APP, ref, ''),
        world.challenges.choose(APP, ref, 'totp', ''),
        world.challenges.resend(APP, ref),
        world.verification.answer(APP, { ...ref, proof: totp('right-1'), requestId: '' }),
        world.watches.follow(APP, ref, () => {}),
      ];
      const errors = await Promise.all(calls.map((call) => call.catch((error: unknown) => error)));
      for (const error of errors) {
        expect(error).toMatchObject({
          kind: 'not-found',
          reason: 'CHALLENGE_NOT_FOUND',
          message: 'there is no such challenge for this caller and session',
          details: {},
        });
      }
    }
    expect(world.eventsOf('request.refused')).toHaveLength(refs.length * 6);
    expect(world.checker.evaluated).toBe(0);
    expect(world.watches.open).toBe(0);
    expect(world.state.ends.size).toBe(0);
    expect(world.budget()).toBeUndefined();
  });

  it('is told plainly only as an operator', async () => {
    const world = challengeWorld();
    const { challenge } = await world.challenges.open(APP, openCommand());
    await expect(world.challenges.read(OPERATOR, refOf(challenge))).rejects.toMatchObject({ reason: 'NOT_OWNER' });
  });
});

describe('cancelling and choosing', () => {
  it('ends an open challenge once, with the reason in the trail', async () => {
    const world = challengeWorld();
    const { challenge } = await world.challenges.open(APP, openCommand());
    const first = await world.challenges.cancel(APP, refOf(challenge), 'the person left');
    const second = await world.challenges.cancel(APP, refOf(challenge), 'again');
    expect([first.challenge.state, second.challenge.state]).toEqual(['CANCELLED', 'CANCELLED']);
    expect(world.eventsOf('challenge.cancelled')).toMatchObject([{ facts: { cancel_reason: 'the person left' } }]);
    await expect(
      world.verification.answer(APP, { ...refOf(challenge), proof: totp('right-1'), requestId: '' }),
    ).rejects.toMatchObject({ reason: 'CHALLENGE_ENDED', details: { metadata: { state: 'CANCELLED' } } });
  });

  it('changes nothing about an approved challenge', async () => {
    const world = challengeWorld();
    const { challenge } = await world.challenges.open(APP, openCommand());
    await world.verification.answer(APP, { ...refOf(challenge), proof: totp('right-1'), requestId: '' });
    const { challenge: after } = await world.challenges.cancel(APP, refOf(challenge), '');
    expect(after.state).toBe('APPROVED');
    await expect(world.challenges.choose(APP, refOf(challenge), 'totp', '')).rejects.toMatchObject({
      reason: 'CHALLENGE_ENDED',
    });
  });

  it('notes the chosen method with an event, once', async () => {
    const world = challengeWorld();
    const { challenge } = await world.challenges.open(APP, openCommand());
    const prompt = await world.challenges.choose(APP, refOf(challenge), 'totp', 'fac_totp');
    await world.challenges.choose(APP, refOf(challenge), 'totp', '');
    expect(prompt).toEqual({ method: 'totp', factorId: 'fac_totp' });
    expect((await world.challenges.read(APP, refOf(challenge))).challenge.chosenMethod).toBe('totp');
    expect(world.eventsOf('challenge.method_chosen')).toHaveLength(1);
  });

  it('refuses methods and factors that are not on offer, and sends nothing again where nothing was sent', async () => {
    const world = challengeWorld();
    const { challenge } = await world.challenges.open(APP, openCommand());
    const refusals = [
      world.challenges.choose(APP, refOf(challenge), 'backup_code', ''),
      world.challenges.choose(APP, refOf(challenge), 'totp', 'fac_other'),
      world.challenges.choose(APP, refOf(challenge), undefined, ''),
      world.challenges.resend(APP, refOf(challenge)),
    ];
    for (const refusal of refusals) await expect(refusal).rejects.toMatchObject({ reason: 'METHOD_NOT_OFFERED' });
    expect(world.eventsOf('request.refused')).toHaveLength(4);
  });

  it('shows an overdue challenge as EXPIRED only after that is stored', async () => {
    const world = challengeWorld();
    const { challenge } = await world.challenges.open(APP, openCommand());
    world.clock.advance(MINUTE);
    expect((await world.challenges.read(APP, refOf(challenge))).challenge.state).toBe('EXPIRED');
    expect(world.state.get(REALM, challenge.id)?.state).toBe('EXPIRED');
    expect(world.eventsOf('challenge.expired')).toHaveLength(1);
  });
});
