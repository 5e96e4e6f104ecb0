import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import type { Caller } from '#src/domain/caller.ts';
import { HOUR } from '#src/domain/time.ts';
import {
  CreateSessionRequestSchema,
  EndReason,
  GetSessionRequestSchema,
  ListSessionsRequestSchema,
  RevokeAllSessionsRequestSchema,
  RevokeSessionRequestSchema,
  RiskSignal,
  SessionState,
  UpdateSessionRequestSchema,
  ValidateSessionRequestSchema,
  ValidateSessionResponseSchema,
  WatchRevocationsRequestSchema,
} from '#src/gen/sallyport/v1/session_pb.js';
import type { CallContext } from '#src/transport/call.ts';
import { sessionHandlers } from '#src/transport/handlers/sessions.ts';
import { APPLICATION, LAPTOP, sessionWorld } from '../../support/session-world.ts';

function call(caller: Caller = APPLICATION, signal = new AbortController().signal): CallContext {
  return { caller, protocol: 'grpc', procedure: '/test', signal, ended: undefined, remainingMs: () => 1_000 };
}

const REALMS = { names: new Set(['default', 'shop']), defaultRealm: 'default' };

function served(options: Parameters<typeof sessionWorld>[0] = {}) {
  const world = sessionWorld(options);
  const handlers = sessionHandlers({ sessions: world.sessions, realms: REALMS });
  const signInRequest = create(CreateSessionRequestSchema, { subject: 'ann', client: LAPTOP });
  const signedIn = async () => {
    const { session, token = '' } = await handlers.createSession(signInRequest, call());
    return { id: session?.id ?? '', token };
  };
  const validate = (token: string, client?: Partial<typeof LAPTOP>) =>
    handlers.validateSession(
      create(ValidateSessionRequestSchema, { token, ...(client ? { client: { ...LAPTOP, ...client } } : {}) }),
      call(),
    );
  return { ...world, handlers, signInRequest, signedIn, validate };
}

const INVALID = { kind: 'unauthenticated', reason: 'SESSION_INVALID' };

describe('SessionService', () => {
  it('answers a warm ValidateSession synchronously, with one and the same complete message', async () => {
    const { signedIn, validate, clock } = served();
    const { id, token } = await signedIn();
    await validate(token, {});
    const warm = validate(token, {});
    expect(warm).not.toBeInstanceOf(Promise);
    expect(validate(token, {})).toBe(warm);
    const seen = fromBinary(
      ValidateSessionResponseSchema,
      toBinary(ValidateSessionResponseSchema, create(ValidateSessionResponseSchema, await warm)),
    );
    expect(seen.session).toMatchObject({
      id,
      realm: 'default',
      subject: 'ann',
      state: SessionState.ACTIVE,
      device: { browser: 'Firefox 145', operatingSystem: 'Linux', location: { countryCode: 'GB', city: 'London' } },
      acr: 'aal1',
      endReason: EndReason.UNSPECIFIED,
      idleExpireTime: { seconds: BigInt((clock.now() + HOUR) / 1_000) },
    });
    expect(JSON.stringify(seen, (_, value) => (typeof value === 'bigint' ? String(value) : value))).not.toContain(
      token,
    );
  });

  it('refuses every bad token with one and the same fault', async () => {
    const { signedIn, validate, handlers } = served();
    const { token } = await signedIn();
    await handlers.revokeSession(
      create(RevokeSessionRequestSchema, { session: { case: 'token', value: token } }),
      call(),
    );
    const faults = await Promise.all(
      ['', 'x', token, `${token}0`].map(async (bad) => {
        try {
          return await validate(bad);
        } catch (fault) {
          return fault;
        }
      }),
    );
    for (const fault of faults) {
      expect(fault).toMatchObject(INVALID);
      expect(String(fault)).toBe(String(faults[0]));
    }
    for (const request of [
      () => handlers.updateSession(create(UpdateSessionRequestSchema, { token, labels: { a: 'b' } }), call()),
      () =>
        handlers.revokeAllSessions(
          create(RevokeAllSessionsRequestSchema, { subject: 'ann', exceptToken: token }),
          call(),
        ),
      () =>
        handlers.revokeSession(create(RevokeSessionRequestSchema, { session: { case: 'token', value: '' } }), call()),
    ]) {
      await expect(request()).rejects.toMatchObject(INVALID);
    }
  });

  it('tells signals and the step-up that they ask for', async () => {
    const { signedIn, validate } = served();
    const { token } = await signedIn();
    expect(await validate(token, { deviceId: 'phone' })).toMatchObject({
      signals: [RiskSignal.DEVICE_CHANGED],
      stepUpRequired: true,
    });
  });

  it('keeps realms apart and refuses unknown ones', async () => {
    const { signedIn, handlers } = served();
    const { token } = await signedIn();
    const inRealm = async (realm: string) =>
      handlers.validateSession(create(ValidateSessionRequestSchema, { realm, token }), call());
    await expect(inRealm('shop')).rejects.toMatchObject(INVALID);
    await expect(inRealm('mars')).rejects.toMatchObject({ kind: 'invalid', reason: 'REALM_UNKNOWN' });
    expect(await inRealm('default')).toMatchObject({ session: { subject: 'ann' } });
  });

  it('answers the candidates and no session with the policy ask', async () => {
    const { signedIn, handlers, signInRequest } = served({ cap: 1, policy: 'ask' });
    const { id } = await signedIn();
    const asked = await handlers.createSession(signInRequest, call());
    expect(asked).toEqual({ candidates: [expect.objectContaining({ id })] });
  });

  it('updates labels by mask only', async () => {
    const { signedIn, handlers } = served();
    const { token } = await signedIn();
    const update = async (request: Parameters<typeof create<typeof UpdateSessionRequestSchema>>[1]) =>
      (await handlers.updateSession(create(UpdateSessionRequestSchema, { token, ...request }), call())).session?.labels;
    expect(await update({ labels: { a: '1' } })).toEqual({ a: '1' });
    expect(await update({})).toEqual({ a: '1' });
    expect(await update({ updateMask: { paths: ['labels'] } })).toEqual({});
    await expect(update({ updateMask: { paths: ['subject'] } })).rejects.toMatchObject({
      reason: 'FIELD_INVALID',
      details: { violations: [{ field: 'update_mask' }] },
    });
  });

  it('shows how and when sessions ended', async () => {
    const { signedIn, handlers, clock } = served();
    const [out, idle] = [await signedIn(), await signedIn()];
    await handlers.revokeSession(
      create(RevokeSessionRequestSchema, { session: { case: 'token', value: out.token } }),
      call(),
    );
    clock.advance(HOUR);
    const get = async (sessionId: string) =>
      (await handlers.getSession(create(GetSessionRequestSchema, { sessionId }), call())).session;
    expect(await get(out.id)).toMatchObject({ state: SessionState.REVOKED, endReason: EndReason.LOGOUT });
    expect(await get(idle.id)).toMatchObject({ state: SessionState.EXPIRED, endReason: EndReason.IDLE });
    const listed = await handlers.listSessions(
      create(ListSessionsRequestSchema, { subject: 'ann', includeEnded: true }),
      call(),
    );
    expect(listed.sessions?.map(({ id }) => id).toSorted()).toEqual([out.id, idle.id].toSorted());
  });

  it('needs to be told which session to revoke', async () => {
    const { handlers } = served();
    await expect(handlers.revokeSession(create(RevokeSessionRequestSchema), call())).rejects.toMatchObject({
      reason: 'FIELD_INVALID',
    });
  });

  it('streams revocations until its call ends', async () => {
    const { signedIn, handlers } = served();
    const { id, token } = await signedIn();
    const abort = new AbortController();
    const stream = handlers.watchRevocations(create(WatchRevocationsRequestSchema), call(APPLICATION, abort.signal));
    const seen: string[] = [];
    for await (const { revocations = [], cursor } of stream) {
      expect(cursor).not.toBe('');
      seen.push(...revocations.map(({ sessionId = '' }) => sessionId));
      if (seen.length > 0) abort.abort();
      else {
        await handlers.revokeSession(
          create(RevokeSessionRequestSchema, { session: { case: 'token', value: token } }),
          call(),
        );
      }
    }
    expect(seen).toEqual([id]);
  });
});
