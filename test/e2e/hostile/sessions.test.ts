import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChallengePurpose, ChallengeService } from '#src/gen/sallyport/v1/challenge_pb.js';
import { EndReason, RiskSignal, SessionService, SessionState } from '#src/gen/sallyport/v1/session_pb.js';
import { connectCall } from '../../support/connect-call.ts';
import { errorInfo, type GrpcClient } from '../../support/grpc-client.ts';
import { type HarmWatch, watchHarm } from '../../support/harm-watch.ts';
import { enrolledPerson, signIn } from '../../support/people.ts';
import { frame, RawGrpc } from '../../support/raw-grpc.ts';
import { Sidecar } from '../../support/sidecar.ts';
import { answer, totp } from '../../support/step-up.ts';
import { eventually, factOf, trailOf } from '../../support/trail-of.ts';

const { method: rpc } = SessionService;
const UNAUTHENTICATED = 16;
const LAPTOP = {
  ipAddress: '203.0.113.7',
  userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
  deviceId: 'laptop',
};
const PHONE_AGENT =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1';

let sidecar: Sidecar;
let client: GrpcClient;
let state: HarmWatch;
beforeAll(async () => {
  sidecar = await Sidecar.start({ env: { SALLYPORT_SESSIONS_TOUCH_INTERVAL: '1s' } });
  client = sidecar.client();
  await enrolledPerson(client, 'warm-up');
  state = await watchHarm(sidecar);
});
afterAll(async () => {
  await state.unharmed(128);
  await sidecar[Symbol.asyncDispose]();
});

const validate = (token: string, extra: object = {}) => client.unary(rpc.validateSession, { token, ...extra });
const isGood = (token: string) =>
  validate(token).then(
    () => true,
    (error: unknown) => {
      expect(errorInfo(error)).toMatchObject({ code: UNAUTHENTICATED, reason: 'SESSION_INVALID' });
      return false;
    },
  );

describe('ids and tokens', () => {
  it('are made here only: what a client chooses is refused or not looked at', async () => {
    const chosen = `ses_${'1'.repeat(26)}`;
    const json = await connectCall(sidecar.httpUrl, `${SessionService.typeName}/CreateSession`, {
      subject: 'fixated',
      session: { id: chosen },
    });
    expect(json).toMatchObject({ status: 400, reason: 'FIELD_INVALID' });
    using raw = new RawGrpc(sidecar.grpcAddress);
    const field = (number: number, text: string) =>
      Buffer.concat([Buffer.from([number * 8 + 2, text.length]), Buffer.from(text)]);
    const body = Buffer.concat([field(2, 'fixated'), field(14, chosen), field(15, `sps_${'1'.repeat(49)}`)]);
    expect((await raw.call(`${SessionService.typeName}/CreateSession`, frame(body))).code).toBe(0);
    const { sessions } = await client.unary(rpc.listSessions, { subject: 'fixated' });
    expect(sessions).toHaveLength(1);
    expect(sessions[0]?.id).not.toBe(chosen);
    expect(await isGood(`sps_${'1'.repeat(49)}`)).toBe(false);
  });

  it('are good as they are and in no other spelling', async () => {
    const { token } = await signIn(client, 'speller');
    expect(token).toMatch(/^sps_[0-9A-Za-z]{49}$/);
    const swap = (index: number) =>
      token.slice(0, index) + (token.charAt(index) === 'A' ? 'B' : 'A') + token.slice(index + 1);
    const others = [
      ...[4, 20, 46, 47, 52].map(swap),
      token.toUpperCase(),
      token.toLowerCase(),
      ` ${token}`,
      `${token} `,
      `${token}\0`,
      token.slice(0, -1),
      `${token}0`,
      token.slice(4),
      `Bearer ${token}`,
      encodeURIComponent(`${token}%`),
      Buffer.from(token).toString('base64'),
      '',
      sidecar.operatorToken,
    ];
    for (const other of others) expect(await isGood(other), JSON.stringify(other).replace(token, 'TOKEN')).toBe(false);
    expect(await isGood(token)).toBe(true);
  });

  it('change with a step-up: the old token dies at once, and one receipt rotates once', async () => {
    const person = await enrolledPerson(client, 'riser');
    const { challenge } = await client.unary(ChallengeService.method.openChallenge, {
      sessionToken: person.token,
      purpose: ChallengePurpose.STEP_UP,
    });
    const { receipt } = await answer(client, challenge?.id ?? '', person.token, totp(person.nextCode()));
    const other = await signIn(client, 'riser');
    const crossed = await client.unary(rpc.updateSession, { token: other.token, receipt }).catch(errorInfo);
    expect(crossed).toMatchObject({ code: 7, reason: 'RECEIPT_MISMATCH' });
    const updates = await Promise.all(
      Array.from({ length: 20 }, () =>
        client.unary(rpc.updateSession, { token: person.token, receipt }).catch(errorInfo),
      ),
    );
    const won = updates.filter((update) => 'session' in update);
    expect(won).toHaveLength(1);
    const [updated] = won;
    if (!updated || !('session' in updated)) throw new Error('nobody won');
    expect(updated.session).toMatchObject({ id: person.sessionId, acr: 'aal2' });
    expect(updated.token).not.toBe(person.token);
    expect(await isGood(person.token)).toBe(false);
    expect(await isGood(updated.token)).toBe(true);
    expect(await isGood(other.token)).toBe(true);
    expect(await trailOf(sidecar, { sessionId: person.sessionId, types: ['session.stepped_up'] })).toHaveLength(1);
  });
});

describe('an end', () => {
  it('is for good: by logout, by id, by eviction, for all; also after kill -9', async () => {
    let own = await Sidecar.start();
    const { dataDir, ports } = own;
    try {
      const by = own.client();
      const made = [];
      for (let index = 0; index < 7; index += 1) {
        made.push(await signIn(by, 'ended'));
        // Of two sessions of one millisecond neither is the older one.
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      const [evicted, alsoEvicted, loggedOut, revoked, kept, swept] = made;
      await by.unary(rpc.revokeSession, { session: { case: 'token', value: loggedOut?.token ?? '' } });
      await by.unary(rpc.revokeSession, {
        session: { case: 'sessionId', value: revoked?.sessionId ?? '' },
        subject: 'ended',
      });
      await by.unary(rpc.revokeAllSessions, { subject: 'ended', exceptToken: kept?.token ?? '' });
      await own.stop('SIGKILL');
      own = await Sidecar.start({ dataDir, ports });
      const after = own.client();
      const good = async (token = '') =>
        after.unary(rpc.validateSession, { token }).then(
          () => true,
          (error: unknown) => {
            expect(errorInfo(error)).toMatchObject({ code: UNAUTHENTICATED, reason: 'SESSION_INVALID' });
            return false;
          },
        );
      for (const one of [evicted, alsoEvicted, loggedOut, revoked, swept]) expect(await good(one?.token)).toBe(false);
      expect(await good(kept?.token)).toBe(true);
      const ended = await trailOf(own, { subject: 'ended', types: ['session.ended'] });
      expect(ended.map((event) => event.reason).sort()).toEqual([
        'EVICTED',
        'EVICTED',
        'LOGOUT',
        'REVOKED',
        'REVOKED',
        'REVOKED',
      ]);
      const { sessions } = await after.unary(rpc.listSessions, { subject: 'ended', includeEnded: true });
      expect(sessions.filter(({ state: now }) => now === SessionState.ACTIVE)).toHaveLength(1);
      expect(sessions.map(({ endReason }) => endReason)).toContain(EndReason.EVICTED);
    } finally {
      await own.stop();
    }
  });

  it("is not brought about for somebody else's session", async () => {
    const mine = await signIn(client, 'mine');
    const theirs = await signIn(client, 'theirs');
    const byId = await client
      .unary(rpc.revokeSession, { session: { case: 'sessionId', value: theirs.sessionId }, subject: 'mine' })
      .catch(errorInfo);
    expect(byId).toMatchObject({ code: 7, reason: 'NOT_OWNER' });
    const nobody = await client
      .unary(rpc.revokeSession, { session: { case: 'sessionId', value: theirs.sessionId } })
      .catch(errorInfo);
    expect(nobody).toMatchObject({ code: 3, reason: 'FIELD_INVALID' });
    const except = await client
      .unary(rpc.revokeAllSessions, { subject: 'mine', exceptToken: theirs.token })
      .catch(errorInfo);
    expect((except as { reason?: string }).reason ?? '').not.toBe('');
    expect(await isGood(theirs.token)).toBe(true);
    expect(await isGood(mine.token)).toBe(true);
    const ending = await client
      .unary(rpc.createSession, { subject: 'mine', endSessionIds: [theirs.sessionId] })
      .catch(errorInfo);
    expect(ending).toMatchObject({ code: 3, reason: 'FIELD_INVALID' });
    expect(await isGood(theirs.token)).toBe(true);
    const events = await eventually(sidecar, { subject: 'mine' }, (event) => event.outcome === 2);
    expect(events.length).toBeGreaterThan(0);
  });

  it('comes when nobody uses the session, and use of another does not help', async () => {
    await using idle = await Sidecar.start({
      env: { SALLYPORT_SESSIONS_IDLE: '10s', SALLYPORT_SESSIONS_TOUCH_INTERVAL: '1s' },
    });
    const by = idle.client();
    const left = await signIn(by, 'idler');
    const used = await signIn(by, 'idler');
    const startedAt = Date.now();
    while (Date.now() - startedAt < 12_500) {
      await by.unary(rpc.validateSession, { token: used.token });
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    expect(await by.unary(rpc.validateSession, { token: left.token }).catch(errorInfo)).toMatchObject({
      reason: 'SESSION_INVALID',
    });
    const updated = await by.unary(rpc.updateSession, { token: left.token, labels: { a: 'b' } }).catch(errorInfo);
    expect(updated).toMatchObject({ reason: 'SESSION_INVALID' });
    const { session } = await by.unary(rpc.validateSession, { token: used.token });
    expect(session?.state).toBe(SessionState.ACTIVE);
    const [event] = await eventually(idle, { sessionId: left.sessionId, types: ['session.ended'] });
    expect(event).toMatchObject({ reason: 'IDLE' });
    // However much it is used, the absolute end has not moved.
    const lasts = Number(session?.expireTime?.seconds ?? 0n) - Number(session?.createTime?.seconds ?? 0n);
    expect(lasts).toBe(24 * 3_600);
  });
});

describe('a stolen token', () => {
  it('shows by agent, device and address; what the policy says happens, and it is written down', async () => {
    const { token, session } = await client.unary(rpc.createSession, { subject: 'stolen', client: LAPTOP });
    const quiet = await validate(token, { client: LAPTOP });
    expect(quiet).toMatchObject({ signals: [], stepUpRequired: false });
    const moved = await validate(token, { client: { ...LAPTOP, ipAddress: '198.51.100.9' } });
    expect(moved.signals).toEqual([RiskSignal.ADDRESS_CHANGED]);
    expect(moved.stepUpRequired).toBe(false);
    const taken = await validate(token, { client: { ...LAPTOP, userAgent: PHONE_AGENT, deviceId: 'phone' } });
    expect(taken.signals).toEqual(expect.arrayContaining([RiskSignal.AGENT_CHANGED, RiskSignal.DEVICE_CHANGED]));
    expect(taken.stepUpRequired).toBe(true);
    // The demand stays, also for who then says nothing of the connection, or pretends to be the laptop.
    expect((await validate(token)).stepUpRequired).toBe(true);
    expect((await validate(token, { client: LAPTOP })).stepUpRequired).toBe(true);
    const events = await eventually(
      sidecar,
      { sessionId: session?.id ?? '', types: ['session.risk_detected'] },
      undefined,
      2,
    );
    expect(events.length).toBeGreaterThanOrEqual(2);
    expect(events[0]).toMatchObject({ subject: 'stolen' });
  });

  it.each(['', 'unknown', '999.1.1.1', '203.0.113.7, 10.0.0.1', "203.0.113.7'--", '::ffff:999.1.1.1', '\0'])(
    'cannot hide its address by saying "%s"',
    async (ipAddress) => {
      const { token } = await client.unary(rpc.createSession, { subject: 'hider', client: LAPTOP });
      const seen = await validate(token, { client: { ...LAPTOP, ipAddress } });
      expect(seen.signals).toEqual([RiskSignal.ADDRESS_UNKNOWN]);
    },
  );

  it('is the end of the session where the settings say so', async () => {
    await using hard = await Sidecar.start({ env: { SALLYPORT_SESSIONS_RISK_AGENT_CHANGED: 'end' } });
    const by = hard.client();
    const { token, session } = await by.unary(rpc.createSession, { subject: 'ended', client: LAPTOP });
    const told = await by
      .unary(rpc.validateSession, { token, client: { ...LAPTOP, userAgent: PHONE_AGENT } })
      .catch(errorInfo);
    expect(told).toMatchObject({ code: UNAUTHENTICATED, reason: 'SESSION_INVALID' });
    expect(await by.unary(rpc.validateSession, { token, client: LAPTOP }).catch(errorInfo)).toMatchObject({
      reason: 'SESSION_INVALID',
    });
    const events = await eventually(hard, { sessionId: session?.id ?? '' }, undefined, 3);
    const types = events.map((event) => event.type);
    expect(types).toContain('session.risk_detected');
    expect(events.find((event) => event.type === 'session.ended')).toMatchObject({ reason: 'HIJACK' });
  });

  it('is not helped by what stands in the headers', async () => {
    const { token } = await client.unary(rpc.createSession, { subject: 'headers', client: LAPTOP });
    const answered = await connectCall(
      sidecar.httpUrl,
      `${SessionService.typeName}/ValidateSession`,
      { token, client: { ...LAPTOP, ipAddress: '198.51.100.9' } },
      {
        'x-forwarded-for': LAPTOP.ipAddress,
        'x-real-ip': LAPTOP.ipAddress,
        forwarded: `for=${LAPTOP.ipAddress}`,
        'user-agent': LAPTOP.userAgent,
      },
    );
    expect(answered.body['signals']).toEqual(['RISK_SIGNAL_ADDRESS_CHANGED']);
  });
});

describe('the cap', () => {
  it('holds at four sessions and 50 sign-ins at once, over both transports', async () => {
    for (let index = 0; index < 4; index += 1) await signIn(client, 'capped');
    const many = Array.from({ length: 50 }, (_, index) =>
      index % 2 === 0
        ? client.unary(rpc.createSession, { subject: 'capped' }).then(({ token }) => token)
        : connectCall(sidecar.httpUrl, `${SessionService.typeName}/CreateSession`, { subject: 'capped' }).then(
            ({ body }) => String(body['token']),
          ),
    );
    const tokens = await Promise.all(many);
    const good = await Promise.all(tokens.map(isGood));
    expect(good.filter(Boolean)).toHaveLength(5);
    const ended = await trailOf(sidecar, { subject: 'capped', types: ['session.ended'] });
    expect(ended).toHaveLength(49);
    expect(factOf(ended[0], 'for')).toMatch(/^ses_/);
  });

  it('refuses instead where the settings say so, and says it', async () => {
    await using strict = await Sidecar.start({
      env: { SALLYPORT_SESSIONS_POLICY: 'reject', SALLYPORT_SESSIONS_CAP: '2' },
    });
    const by = strict.client();
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, () =>
        by.unary(rpc.createSession, { subject: 'full' }).then(
          () => 'made',
          (error: unknown) => errorInfo(error).reason,
        ),
      ),
    );
    expect(outcomes.filter((outcome) => outcome === 'made')).toHaveLength(2);
    expect(outcomes.filter((outcome) => outcome === 'SESSION_LIMIT')).toHaveLength(18);
    const [event] = await eventually(strict, { subject: 'full', types: ['session.refused'] });
    expect(event).toMatchObject({ reason: 'SESSION_LIMIT' });
  });
});
