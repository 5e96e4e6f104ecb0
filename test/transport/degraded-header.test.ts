import { create, toBinary } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from 'vitest';
import { Fault } from '#src/domain/faults.ts';
import { CreateSessionRequestSchema, ValidateSessionRequestSchema } from '#src/gen/sallyport/v1/session_pb.js';
import { frame, RawGrpc } from '../support/raw-grpc.ts';
import { type FakeHandlers, serveConnect, serveGrpc } from '../support/transport.ts';

const VALIDATE = 'sallyport.v1.SessionService/ValidateSession';
const CREATE = 'sallyport.v1.SessionService/CreateSession';
const WATCH = 'sallyport.v1.SessionService/WatchRevocations';
const HEADER = 'sallyport-degraded';

/** What the outage service shows; tests change it as calls go. */
const outages = { degraded: '' };
const HANDLERS: FakeHandlers = {
  [VALIDATE]: ({ token }) => ({ session: { id: token } }),
  // Notices while it runs that the database went away.
  [CREATE]: async () => {
    outages.degraded = 'postgres';
    throw new Fault('unavailable', 'STORE_UNAVAILABLE', 'postgres is away', { retryAfterMs: 1_000 });
  },
  [WATCH]: async function* () {
    yield { cursor: 'c' };
    throw new Fault('unavailable', 'STORE_UNAVAILABLE', 'postgres is away');
  },
};

const REQUESTS: Readonly<Record<string, Uint8Array>> = {
  [VALIDATE]: toBinary(ValidateSessionRequestSchema, create(ValidateSessionRequestSchema, { token: 't' })),
  [CREATE]: toBinary(CreateSessionRequestSchema, create(CreateSessionRequestSchema, { subject: 'ann' })),
  [WATCH]: new Uint8Array(),
};

interface Answered {
  readonly ok: boolean;
  /** Undefined if it was not sent. */
  readonly degraded: string | undefined;
}

interface Open {
  call(procedure: string, headers?: Readonly<Record<string, string>>): Promise<Answered>;
  close(): Promise<unknown>;
}

async function overGrpc(): Promise<Open> {
  const { server, address } = await serveGrpc({ handlers: HANDLERS, outages });
  const raw = new RawGrpc(address);
  return {
    async call(procedure, headers = {}) {
      const { code, headers: answered } = await raw.call(procedure, frame(REQUESTS[procedure] ?? new Uint8Array()), {
        ...headers,
      });
      return { ok: code === 0, degraded: answered[HEADER] as string | undefined };
    },
    async close() {
      raw[Symbol.dispose]();
      await server.drain(0);
    },
  };
}

const overHttp = (unaryType: string, streamType: string) => async (): Promise<Open> => {
  const { server, url } = await serveConnect({ handlers: HANDLERS, outages });
  return {
    async call(procedure, headers = {}) {
      const type = procedure === WATCH ? streamType : unaryType;
      const message = REQUESTS[procedure] ?? new Uint8Array();
      const response = await fetch(`${url}/${procedure}`, {
        method: 'POST',
        headers: { 'content-type': type, 'x-sallyport-client': 'test', ...headers },
        body: new Uint8Array(type === 'application/proto' ? message : frame(message)),
      });
      const text = await response.text();
      const failed = response.status !== 200 || /grpc-status: ?[1-9]/.test(text) || text.includes('"error"');
      const status = response.headers.get('grpc-status') ?? '0';
      return { ok: !failed && status === '0', degraded: response.headers.get(HEADER) ?? undefined };
    },
    close: () => server.drain(0),
  };
};

let opened: Open | undefined;
afterEach(async () => {
  outages.degraded = '';
  await opened?.close();
});

describe.each([
  ['gRPC', overGrpc],
  ['Connect', overHttp('application/proto', 'application/connect+proto')],
  ['gRPC-Web', overHttp('application/grpc-web+proto', 'application/grpc-web+proto')],
])('answers over %s', (_protocol, open) => {
  it('carry no such header while all is up', async () => {
    opened = await open();
    expect(await opened.call(VALIDATE)).toEqual({ ok: true, degraded: undefined });
    expect(await opened.call(VALIDATE, { 'x-sallyport-client': '' })).toEqual({ ok: false, degraded: undefined });
  });

  it('name what is away, also when they refuse', async () => {
    opened = await open();
    outages.degraded = 'redis,postgres';
    expect(await opened.call(VALIDATE)).toEqual({ ok: true, degraded: 'redis,postgres' });
    expect(await opened.call(VALIDATE, { 'x-sallyport-client': '' })).toEqual({
      ok: false,
      degraded: 'redis,postgres',
    });
  });

  it('name what the call itself found to be away', async () => {
    opened = await open();
    expect(await opened.call(CREATE)).toEqual({ ok: false, degraded: 'postgres' });
  });

  it('name it at the head of a stream', async () => {
    opened = await open();
    outages.degraded = 'redis';
    expect(await opened.call(WATCH)).toEqual({ ok: false, degraded: 'redis' });
  });

  it('carry it no more once all is back', async () => {
    opened = await open();
    outages.degraded = 'redis';
    expect((await opened.call(VALIDATE)).degraded).toBe('redis');
    outages.degraded = '';
    expect(await opened.call(VALIDATE)).toEqual({ ok: true, degraded: undefined });
  });
});
