import { request as httpRequest } from 'node:http';
import { connect as tcpConnect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { CallContext } from '#src/transport/call.ts';
import { OPERATOR_TOKEN, serveConnect } from '../../support/transport.ts';

const VALIDATE = 'sallyport.v1.SessionService/ValidateSession';
const CREATE = 'sallyport.v1.SessionService/CreateSession';
const WATCH = 'sallyport.v1.SessionService/WatchRevocations';
const VERIFY = 'sallyport.v1.ChallengeService/VerifyChallenge';
const QUERY = 'sallyport.v1.AuditService/QueryEvents';
const JSON_TYPE = { 'content-type': 'application/json', 'x-sallyport-client': 'test' };
const STREAM_TYPE = { 'content-type': 'application/connect+json', 'x-sallyport-client': 'test' };

async function serve(options: Parameters<typeof serveConnect>[0] = {}) {
  const { served, server, url } = await serveConnect(options);
  const post = async (
    procedure: string,
    body: string | Uint8Array<ArrayBuffer>,
    headers: Record<string, string> = JSON_TYPE,
  ) => {
    const response = await fetch(`${url}/${procedure}`, { method: 'POST', headers, body });
    const text = await response.text();
    const error = text.startsWith('{"code"') ? JSON.parse(text) : undefined;
    const reason = error?.details?.[0]?.debug?.reason;
    return { status: response.status, headers: response.headers, text, code: error?.code, reason };
  };
  return { served, server, url, post, close: () => server.drain(0) };
}

const envelope = (json: string) => {
  const body = Buffer.from(json);
  const bytes = Buffer.alloc(5 + body.length);
  bytes.writeUInt32BE(body.length, 1);
  bytes.set(body, 5);
  return bytes;
};

const abort = (call: CallContext) => new Promise((resolve) => call.signal.addEventListener('abort', resolve));
const until = async (condition: () => boolean) => {
  for (let i = 0; i < 400 && !condition(); i++) await sleep(5);
  expect(condition()).toBe(true);
};

describe('Connect over HTTP/1.1', () => {
  it('answers JSON to curl, with no header that opens it to web pages', async () => {
    const { post, close } = await serve({ handlers: { [VALIDATE]: ({ token }) => ({ session: { id: token } }) } });
    const answer = await post(VALIDATE, '{"token":"t"}', { ...JSON_TYPE, origin: 'https://evil.example' });
    expect(answer).toMatchObject({ status: 200, text: '{"session":{"id":"t"}}' });
    expect([...answer.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    await close();
  });

  it('answers no preflight, no form, and no other method', async () => {
    const { post, url, close } = await serve();
    const preflight = await fetch(`${url}/${VALIDATE}`, {
      method: 'OPTIONS',
      headers: { origin: 'https://evil.example' },
    });
    expect(preflight.status).toBe(405);
    expect(preflight.headers.get('access-control-allow-origin')).toBeNull();
    expect((await fetch(`${url}/${VALIDATE}?message={}&encoding=json`)).status).toBe(405);
    for (const type of ['application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'text/plain', '']) {
      expect((await post(VALIDATE, '{}', { 'x-sallyport-client': 't', 'content-type': type })).status).toBe(415);
    }
    expect(
      (await post(VALIDATE, '{}', { ...JSON_TYPE, 'content-type': 'application/json; charset=utf-8' })).status,
    ).toBe(200);
    expect(
      (await post(VALIDATE, '{}', { ...JSON_TYPE, 'content-type': 'application/json; charset=utf-16' })).status,
    ).toBe(415);
    await close();
  });

  it('asks for the client header, and for the operator token where an operator is needed', async () => {
    const { post, served, close } = await serve();
    expect(await post(VALIDATE, '{}', { 'content-type': 'application/json' })).toMatchObject({
      status: 400,
      code: 'invalid_argument',
      reason: 'CLIENT_HEADER_MISSING',
    });
    expect(await post(QUERY, '{}')).toMatchObject({ status: 403, reason: 'ROLE_MISSING' });
    expect(await post(QUERY, '{}', { ...JSON_TYPE, authorization: 'Bearer x' })).toMatchObject({
      status: 401,
      reason: 'CALLER_UNKNOWN',
    });
    expect((await post(QUERY, '{}', { ...JSON_TYPE, authorization: `Bearer ${OPERATOR_TOKEN}` })).status).toBe(200);
    expect(served.refusals.events.map(({ type }) => type)).toEqual(['caller.refused', 'caller.refused']);
    await close();
  });

  it('refuses a repeated authorization header, of which Node shows the first only', async () => {
    const { url, close } = await serve();
    const status = await new Promise((resolve, reject) => {
      const request = httpRequest(`${url}/${QUERY}`, { method: 'POST', headers: JSON_TYPE }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      request.on('error', reject);
      request.setHeader('authorization', [`Bearer ${OPERATOR_TOKEN}`, 'Bearer other']);
      request.end('{}');
    });
    expect(status).toBe(401);
    await close();
  });

  it.each([
    ['no JSON', '{', ''],
    ['an unknown field', '{"tokn":"x"}', 'tokn'],
    ['a wrong type', '{"token":5}', 'token'],
    ['an array', '[]', ''],
    ['text that is not UTF-8', new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), ''],
  ])('refuses %s as INVALID_ARGUMENT and names the field where it can', async (_what, body, field) => {
    const { post, close } = await serve();
    const answer = await post(VALIDATE, body);
    expect(answer).toMatchObject({ status: 400, code: 'invalid_argument', reason: 'FIELD_INVALID' });
    expect(JSON.parse(answer.text).details[1].debug.fieldViolations[0].field ?? '').toBe(field);
    await close();
  });

  it('refuses an enum name that this release does not know instead of dropping it', async () => {
    const { post, close } = await serve();
    const answer = await post(
      'sallyport.v1.ChallengeService/OpenChallenge',
      '{"subject":"a","action":{"resource":"r","action":"a"},"sensitivity":"SENSITIVITY_COSMIC"}',
    );
    expect(answer).toMatchObject({ status: 400, reason: 'FIELD_INVALID' });
    expect(answer.text).toContain('is not a Sensitivity');
    await close();
  });

  it('reads no more than the limit, with or without a length, and closes the connection', async () => {
    const { post, url, close } = await serve({ connect: { maxMessageBytes: 100 } });
    const body = `{"token":"${'a'.repeat(88)}"}`;
    expect(body).toHaveLength(100);
    expect((await post(VALIDATE, body)).status).toBe(200);
    expect(await post(VALIDATE, `${body} `)).toMatchObject({ status: 429, reason: 'LIMIT_EXCEEDED' });
    const endless = new ReadableStream({
      async pull(controller) {
        await sleep(1);
        controller.enqueue(Buffer.alloc(64, ' '));
      },
    });
    const answer = await fetch(`${url}/${VALIDATE}`, {
      method: 'POST',
      headers: JSON_TYPE,
      body: endless,
      duplex: 'half',
    } as RequestInit);
    expect(answer.status).toBe(429);
    expect(answer.headers.get('connection')).toBe('close');
    await close();
  });

  it('inflates nothing and compresses nothing', async () => {
    const { post, close } = await serve({ handlers: { [VALIDATE]: () => ({ session: { id: 'x'.repeat(5_000) } }) } });
    const bomb = gzipSync(Buffer.alloc(10 * 1024 * 1024, ' '));
    expect(await post(VALIDATE, bomb, { ...JSON_TYPE, 'content-encoding': 'gzip' })).toMatchObject({
      status: 501,
      code: 'unimplemented',
    });
    const answer = await post(VALIDATE, '{}', { ...JSON_TYPE, 'accept-encoding': 'gzip, br' });
    expect(answer.headers.get('content-encoding')).toBeNull();
    expect(answer.status).toBe(200);
    await close();
  });

  it('ends a call at the deadline of the caller, and refuses a timeout that is none', async () => {
    const ends: (string | undefined)[] = [];
    const { post, close } = await serve({
      handlers: {
        [CREATE]: async (_request, call: CallContext) => {
          await abort(call);
          ends.push(call.ended);
          return {};
        },
      },
    });
    const late = await post(CREATE, '{"subject":"a"}', { ...JSON_TYPE, 'connect-timeout-ms': '50' });
    expect(late).toMatchObject({ status: 504, code: 'deadline_exceeded', reason: 'DEADLINE_EXCEEDED' });
    expect(ends).toEqual(['deadline']);
    expect(await post(VALIDATE, '{}', { ...JSON_TYPE, 'connect-timeout-ms': '9999999999' })).toMatchObject({
      status: 200,
    });
    expect(await post(VALIDATE, '{}', { ...JSON_TYPE, 'connect-timeout-ms': 'soon' })).toMatchObject({
      status: 400,
      reason: 'FIELD_INVALID',
    });
    await close();
  });

  it('ends a request whose body does not come', async () => {
    const { url, served, close } = await serve({ limits: { firstMessageMs: 100 } });
    const { port } = new URL(url);
    const socket = tcpConnect({ port: Number(port), host: '127.0.0.1' });
    socket.write(
      `POST /${VALIDATE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-sallyport-client: t\r\ncontent-length: 10\r\n\r\n{`,
    );
    const answer = await new Promise<string>((resolve) => socket.once('data', (data) => resolve(data.toString())));
    expect(answer).toMatch(/^HTTP\/1.1 504/);
    expect(served.pipeline.liveCalls).toBe(0);
    socket.destroy();
    await close();
  });

  it('tells the handler when the caller goes away', async () => {
    const waits = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<string | undefined>();
    const { url, served, close } = await serve({
      handlers: {
        [CREATE]: async (_request, call: CallContext) => {
          waits.resolve();
          await abort(call);
          ended.resolve(call.ended);
          return {};
        },
      },
    });
    const controller = new AbortController();
    const call = fetch(`${url}/${CREATE}`, {
      method: 'POST',
      headers: JSON_TYPE,
      body: '{"subject":"a"}',
      signal: controller.signal,
    }).catch(() => {});
    await waits.promise;
    controller.abort();
    await call;
    expect(await ended.promise).toBe('cancelled');
    await until(() => served.metrics.calls.size > 0);
    expect([...served.metrics.calls]).toEqual([[`connectrpc ${CREATE} CANCELLED`, 1]]);
    await close();
  });

  it('refuses bidirectional streams and says where they are', async () => {
    const { post, close } = await serve();
    const answer = await post(VERIFY, envelope('{}'), STREAM_TYPE);
    expect(answer).toMatchObject({ status: 505, code: 'unimplemented', reason: 'NOT_IMPLEMENTED' });
    expect(answer.text).toContain('gRPC listener');
    await close();
  });

  it('answers unknown methods as UNIMPLEMENTED and never makes them a label', async () => {
    const { post, served, close } = await serve();
    for (const path of ['sallyport.v1.SessionService/Nope', 'nope', `${VALIDATE}/x`]) {
      expect(await post(path, '{}')).toMatchObject({ status: 404, code: 'unimplemented', reason: 'NOT_IMPLEMENTED' });
    }
    expect([...served.metrics.calls]).toEqual([['connectrpc _OTHER UNIMPLEMENTED UNIMPLEMENTED', 3]]);
    await close();
  });

  it('streams messages as they come, and ends at shutdown with a last word', async () => {
    const { url, server, served, close } = await serve({
      handlers: {
        [WATCH]: async function* (_request: unknown, call: CallContext) {
          yield { cursor: 'first' };
          await abort(call);
          yield { cursor: String(call.ended) };
        },
      },
    });
    const response = await fetch(`${url}/${WATCH}`, { method: 'POST', headers: STREAM_TYPE, body: envelope('{}') });
    const reader = response.body?.getReader();
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toContain('first');
    expect(served.metrics.streams).toBe(1);
    const drained = server.drain(15_000);
    let rest = '';
    for (let part = await reader?.read(); part && !part.done; part = await reader?.read())
      rest += Buffer.from(part.value);
    expect(rest).toContain('shutdown');
    expect(rest).toMatch(/\{\}$/);
    expect(await drained).toBe(true);
    await close();
  });

  it('takes exactly one whole message in an envelope', async () => {
    let served = 0;
    const { post, close } = await serve({
      handlers: {
        [WATCH]: async function* () {
          served += 1;
          yield { cursor: 'here' };
        },
      },
    });
    const one = envelope('{}');
    const compressed = Uint8Array.from(one);
    compressed[0] = 1;
    for (const body of [
      Buffer.concat([one, one]),
      Buffer.concat([one, Buffer.from('x')]),
      one.subarray(0, 6),
      compressed,
    ]) {
      expect((await post(WATCH, Uint8Array.from(body), STREAM_TYPE)).text).toContain('invalid_argument');
    }
    expect(served).toBe(0);
    await post(WATCH, Uint8Array.from(one), STREAM_TYPE);
    expect(served).toBe(1);
    await close();
  });

  it('cuts a stream whose reader does not read', async () => {
    let pulled = 0;
    const finished = Promise.withResolvers<void>();
    const { url, served, close } = await serve({
      limits: { readerStallMs: 150 },
      handlers: {
        [WATCH]: async function* () {
          try {
            for (;;) {
              pulled += 1;
              yield { cursor: 'x'.repeat(64 * 1024) };
            }
          } finally {
            finished.resolve();
          }
        },
      },
    });
    const { port } = new URL(url);
    const socket = tcpConnect({ port: Number(port), host: '127.0.0.1' });
    socket.on('error', () => {});
    socket.pause();
    const body = envelope('{}');
    socket.write(
      `POST /${WATCH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/connect+json\r\nx-sallyport-client: t\r\ncontent-length: ${body.length}\r\n\r\n`,
    );
    socket.write(body);
    await finished.promise;
    // What the buffers of two kernels hold, and no more.
    expect(pulled).toBeLessThan(500);
    expect([...served.metrics.calls]).toEqual([[`connectrpc ${WATCH} RESOURCE_EXHAUSTED`, 1]]);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await sleep(1_200);
    socket.resume();
    await closed;
    await close();
  });

  it('publishes the key set for offline verification', async () => {
    const keys = [{ kty: 'OKP', crv: 'Ed25519', kid: 'k1', x: 'x' }];
    let broken = false;
    const { url, close } = await serve({
      connect: { jwks: async () => (broken ? Promise.reject(new Error('store')) : { keys }) },
    });
    const path = `${url}/.well-known/jwks.json`;
    const answer = await fetch(path);
    expect(answer.headers.get('content-type')).toBe('application/jwk-set+json');
    expect(await answer.json()).toEqual({ keys });
    expect((await fetch(path, { method: 'POST' })).status).toBe(405);
    expect(await (await fetch(path, { method: 'HEAD' })).text()).toBe('');
    broken = true;
    const failed = await fetch(path);
    expect(failed.status).toBe(503);
    expect(await failed.text()).not.toContain('store');
    await close();
  });

  it('survives what is no HTTP', async () => {
    const { url, post, close } = await serve();
    const { port } = new URL(url);
    for (const garbage of [
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      '\u0000\u0001\u0002',
      'GET / HTTP/9.9\r\n\r\n',
      `GET /${'x'.repeat(20_000)}`,
    ]) {
      const socket = tcpConnect({ port: Number(port), host: '127.0.0.1' });
      socket.on('error', () => {});
      socket.end(garbage);
      await new Promise((resolve) => socket.once('close', resolve).resume());
    }
    expect((await post(VALIDATE, '{}')).status).toBe(200);
    await close();
  });
});
