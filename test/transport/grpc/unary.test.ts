import { gzipSync } from 'node:zlib';
import { create, toBinary } from '@bufbuild/protobuf';
import type { ServiceError } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { CreateSessionRequestSchema, SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import type { CallContext } from '#src/transport/call.ts';
import { errorInfo, GrpcClient } from '../../support/grpc-client.ts';
import { answer, frame, RawGrpc } from '../../support/raw-grpc.ts';
import { OPERATOR_TOKEN, type ServedOptions, serveGrpc } from '../../support/transport.ts';

const VALIDATE = 'sallyport.v1.SessionService/ValidateSession';
const CREATE = 'sallyport.v1.SessionService/CreateSession';
const QUERY = 'sallyport.v1.AuditService/QueryEvents';
const { validateSession, createSession } = SessionService.method;

async function serve(options: ServedOptions = {}) {
  const { served, server, address } = await serveGrpc(options);
  const client = new GrpcClient(address);
  const raw = new RawGrpc(address);
  const close = async () => {
    client.close();
    raw[Symbol.dispose]();
    await server.drain(0);
  };
  return { served, server, address, client, raw, close };
}

const failed = async (call: Promise<unknown>) => (await call.catch((error: unknown) => error)) as ServiceError;
const waiting = (call: CallContext) => new Promise((resolve) => call.signal.addEventListener('abort', resolve));

describe('unary calls over gRPC', () => {
  it('answer what the handler answers, with or without waiting', async () => {
    const { client, close } = await serve({
      handlers: {
        [VALIDATE]: ({ token }) => ({ session: { id: token } }),
        [CREATE]: async ({ subject }) => ({ session: { subject } }),
      },
    });
    expect((await client.unary(validateSession, { token: 't' })).session?.id).toBe('t');
    expect((await client.unary(createSession, { subject: 'alice' })).session?.subject).toBe('alice');
    await close();
  });

  it('are refused without the client header, and say what to do', async () => {
    const { address, served, close } = await serve();
    const bare = new GrpcClient(address, {});
    const error = await failed(bare.unary(validateSession, { token: 't' }));
    expect(errorInfo(error)).toMatchObject({ code: 3, reason: 'CLIENT_HEADER_MISSING' });
    expect(error.details).toContain('x-sallyport-client');
    expect(served.metrics.calls.get(`grpc ${VALIDATE} INVALID_ARGUMENT`)).toBe(1);
    bare.close();
    await close();
  });

  it('that a later release brings say so', async () => {
    const { raw, close } = await serve();
    const answer = await raw.call('sallyport.v1.AdminService/CreatePortalLink', frame(Buffer.from([0x12, 1, 0x61])));
    expect(answer).toMatchObject({ code: 12, reason: 'NOT_IMPLEMENTED' });
    expect(answer.message).toContain('not of this release');
    await close();
  });

  it('to unknown methods are UNIMPLEMENTED and never become a label', async () => {
    const { raw, served, close } = await serve();
    for (const path of [
      'sallyport.v1.SessionService/Nope',
      'x',
      'sallyport.v1.SessionService/ValidateSession/',
      '%00',
    ]) {
      expect(await raw.call(path, frame(new Uint8Array()))).toMatchObject({ code: 12, reason: 'NOT_IMPLEMENTED' });
    }
    expect([...served.metrics.calls]).toEqual([['grpc _OTHER UNIMPLEMENTED UNIMPLEMENTED', 4]]);
    await close();
  });

  it('end at the deadline of the caller, and at our own when that is sooner', async () => {
    const ends: (string | undefined)[] = [];
    const { client, raw, served, close } = await serve({
      handlers: {
        [CREATE]: async (_request, call: CallContext) => {
          await waiting(call);
          ends.push(call.ended);
          throw new Error('too late to be seen');
        },
      },
    });
    const message = frame(toBinary(CreateSessionRequestSchema, create(CreateSessionRequestSchema, { subject: 'a' })));
    const late = await raw.call(CREATE, message, { 'grpc-timeout': '50m' });
    expect(late).toMatchObject({ code: 4, reason: 'DEADLINE_EXCEEDED' });
    expect(ends).toEqual(['deadline']);
    expect(served.metrics.calls.get(`grpc ${CREATE} DEADLINE_EXCEEDED DEADLINE_EXCEEDED`)).toBe(1);
    expect((await failed(client.unary(createSession, { subject: 'a' }, 30))).code).toBe(4);
    await close();
  });

  it('with a timeout beyond 31 bits of milliseconds are served', async () => {
    const { raw, close } = await serve({
      handlers: {
        [VALIDATE]: (_request, call: CallContext) => ({ session: { id: String(call.remainingMs() > 1000) } }),
      },
    });
    for (const timeout of ['2147484S', '4294968S', '99999999H']) {
      const answer = await raw.call(VALIDATE, frame(new Uint8Array()), { 'grpc-timeout': timeout });
      expect(answer.code).toBe(0);
      expect(answer.body.toString()).toContain('true');
    }
    expect(await raw.call(VALIDATE, frame(new Uint8Array()), { 'grpc-timeout': 'soon' })).toMatchObject({
      code: 3,
      reason: 'FIELD_INVALID',
    });
    await close();
  });

  it('tell the handler of a cancellation, and count it once', async () => {
    const ended = Promise.withResolvers<string | undefined>();
    const started = Promise.withResolvers<void>();
    const { raw, served, close } = await serve({
      handlers: {
        [CREATE]: async (_request, call: CallContext) => {
          started.resolve();
          await waiting(call);
          ended.resolve(call.ended);
          return {};
        },
      },
    });
    const stream = raw.open(CREATE);
    stream.end(frame(Buffer.from([0x12, 1, 0x61])));
    await started.promise;
    stream.close(8);
    expect(await ended.promise).toBe('cancelled');
    expect([...served.metrics.calls]).toEqual([[`grpc ${CREATE} CANCELLED`, 1]]);
    expect(served.pipeline.liveCalls).toBe(0);
    await close();
  });

  it('do not take the end of a finished call for a cancellation', async () => {
    const { client, served, close } = await serve();
    await client.unary(validateSession, { token: 't' });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([...served.metrics.calls.keys()]).toEqual([`grpc ${VALIDATE} OK`]);
    await close();
  });

  it.each([
    ['a truncated message', frame(Buffer.from([0x12, 0x7f, 0x61]))],
    ['text that is not UTF-8', frame(Buffer.from([0x12, 2, 0xff, 0xfe]))],
    ['a wrong wire type', frame(Buffer.from([0x10, 1]))],
    ['a group without an end', frame(Buffer.from([0x0b]))],
    ['a compressed message that says it is not', frame(gzipSync(Buffer.from([0x12, 1, 0x61])), 0)],
    ['a message marked as compressed', frame(gzipSync(Buffer.from([0x12, 1, 0x61])), 1)],
    ['two messages', Buffer.concat([frame(Buffer.from([0x12, 1, 0x61])), frame(Buffer.from([0x12, 1, 0x61]))])],
    ['no message', Buffer.alloc(0)],
  ])('refuse %s as INVALID_ARGUMENT', async (_what, body) => {
    const { raw, served, close } = await serve();
    const answer = await raw.call(CREATE, body);
    expect(answer.code).toBe(3);
    expect(['FIELD_INVALID', 'STREAM_ORDER']).toContain(answer.reason);
    expect([...served.metrics.calls]).toEqual([[`grpc ${CREATE} INVALID_ARGUMENT`, 1]]);
    await close();
  });

  it('over the size limit are RESOURCE_EXHAUSTED, one byte below are not', async () => {
    const { raw, served, close } = await serve({ grpc: { maxMessageBytes: 1000 } });
    const message = (size: number) =>
      frame(Buffer.concat([Buffer.from([0x12, 0xe5, 0x07]), Buffer.alloc(size - 3, 'a')]));
    expect(await raw.call(VALIDATE, message(1000))).toMatchObject({ code: 0 });
    expect(await raw.call(VALIDATE, message(1001))).toMatchObject({ code: 8, reason: 'LIMIT_EXCEEDED' });
    const lie = Buffer.alloc(5);
    lie.writeUInt32BE(0xffff_ffff, 1);
    expect(await raw.call(VALIDATE, lie)).toMatchObject({ code: 8, reason: 'LIMIT_EXCEEDED' });
    expect(served.metrics.calls.get(`grpc ${VALIDATE} RESOURCE_EXHAUSTED`)).toBe(2);
    await close();
  });

  it('inflate nothing: a compressed call is refused before its body', async () => {
    const { raw, close } = await serve();
    const bomb = frame(gzipSync(Buffer.alloc(8 * 1024 * 1024)), 1);
    const answer = await raw.call(VALIDATE, bomb, { 'grpc-encoding': 'gzip' });
    expect(answer).toMatchObject({ code: 12, reason: 'NOT_IMPLEMENTED' });
    expect(answer.headers['grpc-accept-encoding']).toBe('identity');
    await close();
  });

  it('in another content type, gRPC-Web above all, get 415', async () => {
    const { raw, close } = await serve();
    for (const type of ['application/grpc-web+proto', 'application/json', 'application/grpc+json']) {
      expect(await raw.call(VALIDATE, frame(new Uint8Array()), { 'content-type': type })).toMatchObject({
        httpStatus: 415,
      });
    }
    expect(
      await raw.call(VALIDATE, frame(new Uint8Array()), { 'content-type': 'application/grpc+proto' }),
    ).toMatchObject({
      code: 0,
    });
    await close();
  });

  it('that never send their request end after the time for it', async () => {
    const { raw, served, close } = await serve({ limits: { firstMessageMs: 100 } });
    const stream = raw.open(VALIDATE);
    expect(await answer(stream)).toMatchObject({ code: 4, reason: 'DEADLINE_EXCEEDED' });
    expect(served.pipeline.liveCalls).toBe(0);
    await close();
  });

  it('answer INTERNAL without a word of the cause when a handler answers nonsense', async () => {
    const { client, served, close } = await serve({
      handlers: {
        [VALIDATE]: () => ({ session: { createTime: 'now' } }),
        [CREATE]: async () => ({ session: { createTime: 'now' } }),
      },
    });
    for (const call of [() => client.unary(validateSession, {}), () => client.unary(createSession, { subject: 'a' })]) {
      const error = await failed(call());
      expect(errorInfo(error)).toMatchObject({ code: 13, reason: 'INTERNAL' });
      expect(error.details).toMatch(/^internal error; look for errorId test-\w+ in the log$/);
    }
    expect(served.log.lines.filter((line) => line.startsWith('error'))).toHaveLength(2);
    await close();
  });

  it('write refused requests and callers to the trail where the table says so', async () => {
    const { raw, served, close } = await serve();
    const person = Buffer.from([0x12, 5, ...Buffer.from('alice')]);
    await raw.call(CREATE, frame(Buffer.concat([person, Buffer.from([0x3a, 1, 0x61])])));
    await raw.call(CREATE, frame(Buffer.from([0x12, 2, 0xff, 0xfe])));
    await raw.call(VALIDATE, frame(Buffer.from([0x12, 2, 0xff, 0xfe])));
    await raw.call(QUERY, frame(new Uint8Array()));
    await raw.call(QUERY, frame(new Uint8Array()), { authorization: 'Bearer wrong' });
    expect(
      served.refusals.events.map(({ type, reason, realm, subject, facts }) => ({
        type,
        reason,
        realm,
        subject,
        facts,
      })),
    ).toEqual([
      {
        type: 'request.refused',
        reason: 'FIELD_INVALID',
        realm: 'default',
        subject: 'alice',
        facts: { procedure: CREATE, field: 'request_id' },
      },
      {
        type: 'request.refused',
        reason: 'FIELD_INVALID',
        realm: 'default',
        subject: undefined,
        facts: { procedure: CREATE },
      },
      { type: 'caller.refused', reason: 'ROLE_MISSING', realm: '', subject: undefined, facts: { procedure: QUERY } },
      { type: 'caller.refused', reason: 'CALLER_UNKNOWN', realm: '', subject: undefined, facts: { procedure: QUERY } },
    ]);
    await close();
  });

  it('take the operator token once, and refuse repeated and joined values', async () => {
    const { raw, close } = await serve();
    const bearer = `Bearer ${OPERATOR_TOKEN}`;
    const call = (authorization: string | string[]) =>
      raw.call(QUERY, frame(new Uint8Array()), { authorization } as never);
    expect(await call(bearer)).toMatchObject({ code: 0 });
    for (const value of [`${bearer}, Bearer x`, `Bearer ${OPERATOR_TOKEN}x`, 'Bearer', OPERATOR_TOKEN]) {
      expect(await call(value)).toMatchObject({ code: 16, reason: 'CALLER_UNKNOWN' });
    }
    await close();
  });

  it('see no identity in any other metadata', async () => {
    const { raw, close } = await serve();
    const forged = {
      'x-user-id': 'root',
      'x-forwarded-client-cert': 'By=spiffe://x;URI=operator',
      'x-role': 'operator',
    };
    expect(await raw.call(QUERY, frame(new Uint8Array()), forged)).toMatchObject({ code: 7, reason: 'ROLE_MISSING' });
    await close();
  });
});
