import { gzipSync } from 'node:zlib';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChallengeService } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { CreateSessionRequestSchema, SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { connectCall } from '../../support/connect-call.ts';
import { watchHarm } from '../../support/harm-watch.ts';
import { callFields, END_HEADERS, END_STREAM, FRAME, FramePeer, hpack } from '../../support/http2-frames.ts';
import { plainTcp } from '../../support/plain-tcp.ts';
import { frame, RawGrpc } from '../../support/raw-grpc.ts';
import { Sidecar } from '../../support/sidecar.ts';
import { eventually, factOf } from '../../support/trail-of.ts';

const CREATE = 'sallyport.v1.SessionService/CreateSession';
const VALIDATE = 'sallyport.v1.SessionService/ValidateSession';
const QUERY = 'sallyport.v1.AuditService/QueryEvents';
const LIMIT = 64 * 1024;
const INVALID = 3;
const EXHAUSTED = 8;
const UNIMPLEMENTED = 12;
const UNAUTHENTICATED = 16;
const DENIED = 7;

let sidecar: Sidecar;
let raw: RawGrpc;
beforeAll(async () => {
  sidecar = await Sidecar.start();
  raw = new RawGrpc(sidecar.grpcAddress);
});
afterAll(async () => {
  raw[Symbol.dispose]();
  await sidecar[Symbol.asyncDispose]();
});

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
const sessionsOf = async (subject: string) =>
  (await sidecar.client().unary(SessionService.method.listSessions, { subject })).sessions.length;

/** How many calls of QueryEvents over gRPC were answered with success. */
const queriesEndedAs = (code: string) =>
  sidecar.metric(
    `sallyport_rpc_server_call_duration_seconds_count{rpc_system_name="grpc",rpc_method="${QUERY}",rpc_status_code="${code}",error_type=""}`,
  );
const answeredQueries = () => queriesEndedAs('OK');

/** A CreateSessionRequest of exactly this many bytes. */
function requestOfSize(size: number): Uint8Array {
  const base = toBinary(CreateSessionRequestSchema, create(CreateSessionRequestSchema, { subject: 'large' }));
  // Field 15 is in no message of ours: tag (1 byte), length (3 bytes), content.
  const length = size - base.length - 4;
  const filler = Buffer.alloc(4 + length, 0x61);
  filler.set([0x7a, (length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, length >> 14]);
  return Buffer.concat([base, filler]);
}

describe('bytes that are no message', () => {
  const bodies: readonly [string, Uint8Array][] = [
    ['tags of no known wire type', bytes('ff ff ff ff')],
    ['a length that runs past the end', bytes('12 7f 61')],
    ['a varint that never ends', bytes('80'.repeat(200))],
    ['a field of another type', bytes('10 01 12')],
    ['text that is not UTF-8', bytes('12 02 c3 28')],
    ['overlong UTF-8', bytes('12 02 c0 80')],
    ['half of a surrogate pair', bytes('12 03 ed a0 80')],
    ['groups in groups, 60,000 deep', Buffer.alloc(60_000, 0x7b)],
  ];

  it.each(bodies)('refuses %s over gRPC and Connect, with an event', async (_what, body) => {
    const state = await watchHarm(sidecar);
    const overGrpc = await raw.call(CREATE, frame(body));
    expect(overGrpc).toMatchObject({ code: INVALID, reason: 'FIELD_INVALID' });
    const overConnect = await connectCall(sidecar.httpUrl, CREATE, Uint8Array.from(body), {
      'content-type': 'application/proto',
    });
    expect(overConnect).toMatchObject({ status: 400, code: 'invalid_argument', reason: 'FIELD_INVALID' });
    const events = await eventually(
      sidecar,
      { types: ['request.refused'] },
      (one) => factOf(one, 'procedure') === CREATE,
    );
    expect(events.length).toBeGreaterThan(0);
    await state.unharmed();
  });

  it('refuses a request without a message, with two, and with a frame that is cut short', async () => {
    const state = await watchHarm(sidecar);
    expect(await raw.call(CREATE, Buffer.alloc(0))).toMatchObject({ code: INVALID, reason: 'STREAM_ORDER' });
    const one = frame(toBinary(CreateSessionRequestSchema, create(CreateSessionRequestSchema, { subject: 'twice' })));
    expect(await raw.call(CREATE, Buffer.concat([one, one]))).toMatchObject({ code: INVALID, reason: 'STREAM_ORDER' });
    for (const cut of [1, 4, 5, one.length - 1]) {
      const answer = await raw.call(CREATE, one.subarray(0, cut));
      expect(answer.code, `cut after ${cut} bytes`).not.toBe(0);
    }
    expect(await sessionsOf('twice')).toBe(0);
    const half = await fetch(`${sidecar.httpUrl}/${CREATE}`, {
      method: 'POST',
      headers: { 'content-type': 'application/grpc-web+proto', 'x-sallyport-client': 'cut' },
      body: Uint8Array.from(one.subarray(0, one.length - 1)),
    });
    expect(half.headers.get('grpc-status') ?? (await half.text())).toContain('3');
    expect(await sessionsOf('twice')).toBe(0);
    await state.unharmed();
  });
});

describe('messages over their limit', () => {
  it('takes 64 KiB and refuses one byte more, on every protocol, without growing', async () => {
    const state = await watchHarm(sidecar);
    expect(await raw.call(CREATE, frame(requestOfSize(LIMIT)))).toMatchObject({ code: 0 });
    const over = requestOfSize(LIMIT + 1);
    expect(over).toHaveLength(LIMIT + 1);
    expect(await raw.call(CREATE, frame(over))).toMatchObject({ code: EXHAUSTED, reason: 'LIMIT_EXCEEDED' });
    const connectProto = { 'content-type': 'application/proto' };
    const atLimit = await connectCall(sidecar.httpUrl, CREATE, Uint8Array.from(requestOfSize(LIMIT)), connectProto);
    expect(atLimit.status).toBe(200);
    const overLimit = await connectCall(sidecar.httpUrl, CREATE, Uint8Array.from(over), connectProto);
    expect(overLimit).toMatchObject({ status: 429, code: 'resource_exhausted', reason: 'LIMIT_EXCEEDED' });
    const json = await connectCall(sidecar.httpUrl, CREATE, `{"subject":"${'a'.repeat(LIMIT)}"}`);
    expect(json).toMatchObject({ status: 429, reason: 'LIMIT_EXCEEDED' });
    expect(await sessionsOf('large')).toBe(2);
    await state.unharmed(32);
  });

  it('refuses a message that claims four gigabytes before it comes', async () => {
    const state = await watchHarm(sidecar);
    const claim = Buffer.alloc(5);
    claim.writeUInt32BE(0xffff_ffff, 1);
    expect(await raw.call(CREATE, claim)).toMatchObject({ code: EXHAUSTED, reason: 'LIMIT_EXCEEDED' });
    await state.unharmed(16);
  });

  it('inflates nothing: compressed messages are refused, bombs above all', async () => {
    const state = await watchHarm(sidecar);
    const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024));
    expect(bomb.length).toBeLessThan(LIMIT);
    for (let round = 0; round < 20; round += 1) {
      const answer = await raw.call(CREATE, frame(bomb, 1), { 'grpc-encoding': 'gzip' });
      expect(answer).toMatchObject({ code: UNIMPLEMENTED, reason: 'NOT_IMPLEMENTED' });
    }
    // A flag that no header explains.
    expect((await raw.call(CREATE, frame(bomb, 1))).code).not.toBe(0);
    const overConnect = await connectCall(sidecar.httpUrl, CREATE, Uint8Array.from(bomb), {
      'content-type': 'application/proto',
      'content-encoding': 'gzip',
    });
    expect(overConnect).toMatchObject({ code: 'unimplemented', reason: 'NOT_IMPLEMENTED' });
    await state.unharmed(16);
  });
});

describe('headers', () => {
  it.each(['', '1', 's', '-1S', '1.5S', '123456789S', '1X', '1 S', '1S,1S', '0x1S'])(
    'refuses the grpc-timeout "%s"',
    async (timeout) => {
      const answer = await raw.call(VALIDATE, frame(Buffer.alloc(0)), { 'grpc-timeout': timeout });
      expect(answer).toMatchObject({ code: INVALID, reason: 'FIELD_INVALID' });
    },
  );

  it.each(['-1', '1e3', '1s', '99999999999'])('refuses the connect-timeout-ms "%s"', async (timeout) => {
    const answer = await connectCall(sidecar.httpUrl, VALIDATE, {}, { 'connect-timeout-ms': timeout });
    expect(answer).toMatchObject({ code: 'invalid_argument', reason: 'FIELD_INVALID' });
  });

  it('takes timeouts that no timer holds as very long ones', async () => {
    const answer = await raw.call(VALIDATE, frame(Buffer.alloc(0)), { 'grpc-timeout': '99999999H' });
    expect(answer).toMatchObject({ code: UNAUTHENTICATED, reason: 'SESSION_INVALID' });
  });

  it('drops header blocks that are too large, on both ports', async () => {
    const state = await watchHarm(sidecar);
    const subject = 'large';
    const made = await sessionsOf(subject);
    const own = new RawGrpc(sidecar.grpcAddress);
    const padding = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`x-pad-${i}`, 'p'.repeat(8_000)]));
    const answer = await Promise.race([
      own.call(CREATE, frame(requestOfSize(100)), padding),
      new Promise<undefined>((resolve) => own.session.once('close', () => resolve(undefined))),
    ]);
    expect(answer?.code).not.toBe(0);
    own[Symbol.dispose]();
    const http = await connectCall(
      sidecar.httpUrl,
      CREATE,
      { subject: 'padded' },
      { 'x-pad': 'p'.repeat(32_000) },
    ).catch(() => undefined);
    expect(http?.status).not.toBe(200);
    expect(await sessionsOf('padded')).toBe(0);
    expect(await sessionsOf(subject)).toBe(made);
    await state.unharmed();
  });

  it('needs the client header, which forms cannot send', async () => {
    const answer = await connectCall(sidecar.httpUrl, CREATE, { subject: 'forged' }, { 'x-sallyport-client': '' });
    expect(answer).toMatchObject({ status: 400, reason: 'CLIENT_HEADER_MISSING' });
    const bare = await raw.call(CREATE, frame(requestOfSize(100)), { 'x-sallyport-client': '' });
    expect(bare).toMatchObject({ code: INVALID, reason: 'CLIENT_HEADER_MISSING' });
    expect(await sessionsOf('forged')).toBe(0);
  });

  const types = [
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'text/plain',
    'application/json; charset=utf-16',
    'application/xml',
    'application/jsonp',
    '',
  ];
  it.each(types)('refuses bodies of type "%s" on both ports', async (type) => {
    const http = await connectCall(sidecar.httpUrl, CREATE, '{"subject":"typed"}', { 'content-type': type });
    expect(http.status).toBe(415);
    const grpc = await raw.call(CREATE, frame(requestOfSize(100)), { 'content-type': type });
    expect(grpc.httpStatus).toBe(415);
    expect(await sessionsOf('typed')).toBe(0);
  });

  it('answers only POST, and sends no CORS header', async () => {
    for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      const answer = await fetch(`${sidecar.httpUrl}/${CREATE}`, {
        method,
        headers: { origin: 'https://evil.example' },
      });
      expect(answer.status, method).toBe(405);
      expect([...answer.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
    }
  });
});

describe('paths', () => {
  const service = 'sallyport.v1.AuditService';
  const paths = [
    `${service}/QueryEvents`,
    `//${service}/QueryEvents`,
    `/${service}//QueryEvents`,
    `/${service}/QueryEvents/`,
    `/${service}/queryevents`,
    `/${service.toLowerCase()}/QueryEvents`,
    `/${service}/Query%45vents`,
    `/${service}%2FQueryEvents`,
    `/./${service}/QueryEvents`,
    `/x/../${service}/QueryEvents`,
    `/${service}/QueryEvents\0`,
    `/${service}/QueryEvents?`,
    '/',
    '*',
    '',
    '/constructor',
    '/__proto__',
    '/toString',
  ];

  it.each(paths)('serves nothing under ":path: %s" over gRPC, not even to operators', async (path) => {
    const served = await answeredQueries();
    using peer = await FramePeer.open(sidecar.ports.grpc);
    const fields = callFields(path, [['authorization', `Bearer ${sidecar.operatorToken}`]]);
    peer.send(FRAME.HEADERS, END_HEADERS, 1, hpack(fields));
    peer.send(FRAME.DATA, END_STREAM, 1, frame(Buffer.alloc(0)));
    const answer = await peer.until((one) => one.stream === 1 || one.type === FRAME.GOAWAY);
    expect(answer).toBeDefined();
    // Either a stream error, or an answer of headers alone: trailers-only is how gRPC refuses.
    expect(peer.frames.filter((one) => one.type === FRAME.DATA && one.payload.length > 0)).toEqual([]);
    expect(await answeredQueries()).toBe(served);
  });

  it.each(paths.slice(0, 11))('answers UNIMPLEMENTED or nothing at all under "%s" over HTTP/1.1', async (path) => {
    const answer = await plainTcp(
      sidecar.ports.http,
      `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-sallyport-client: x\r\n` +
        `authorization: Bearer ${sidecar.operatorToken}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}`,
    );
    expect(answer).not.toContain('HTTP/1.1 200');
    expect(answer).not.toContain('nextPageToken');
  });

  it('asks the same rights of a path with a query', async () => {
    const answer = await connectCall(sidecar.httpUrl, `${QUERY}?role=operator`, {});
    expect(answer).toMatchObject({ status: 403, reason: 'ROLE_MISSING' });
  });
});

describe('credentials', () => {
  const good = () => `Bearer ${sidecar.operatorToken}`;

  it('takes one good operator token', async () => {
    const served = await answeredQueries();
    expect(await raw.call(QUERY, frame(Buffer.alloc(0)), { authorization: good() })).toMatchObject({ code: 0 });
    expect(await connectCall(sidecar.httpUrl, QUERY, {}, { authorization: good() })).toMatchObject({ status: 200 });
    expect(await answeredQueries()).toBe(served + 1);
  });

  it.each([
    ['two good ones', () => [good(), good()]],
    ['a good one, then a bad one', () => [good(), 'Bearer bad']],
    ['a bad one, then a good one', () => ['Bearer bad', good()]],
    ['an empty one, then a good one', () => ['', good()]],
  ] as const)('refuses repeated authorization headers: %s', async (_what, values) => {
    const refused = await queriesEndedAs('UNAUTHENTICATED');
    using peer = await FramePeer.open(sidecar.ports.grpc);
    const fields = callFields(
      `/${QUERY}`,
      values().map((value) => ['authorization', value] as const),
    );
    peer.send(FRAME.HEADERS, END_HEADERS, 1, hpack(fields));
    peer.send(FRAME.DATA, END_STREAM, 1, frame(Buffer.alloc(0)));
    const answer = await peer.until((one) => one.stream === 1 && one.type === FRAME.HEADERS);
    expect(answer).toBeDefined();
    expect(await queriesEndedAs('UNAUTHENTICATED')).toBe(refused + 1);
    expect(peer.frames.filter((one) => one.type === FRAME.DATA && one.payload.length > 0)).toEqual([]);
    const lines = values()
      .map((value, index) => `${index === 0 ? 'authorization' : 'Authorization'}: ${value}\r\n`)
      .join('');
    const http = await plainTcp(
      sidecar.ports.http,
      `POST /${QUERY} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-sallyport-client: x\r\n${lines}` +
        'content-length: 2\r\nconnection: close\r\n\r\n{}',
    );
    expect(http).toContain('HTTP/1.1 401');
  });

  it('refuses tokens joined by a comma, of another scheme, or with anything around them', async () => {
    const token = sidecar.operatorToken;
    const values = [
      `${good()}, ${good()}`,
      `${good()},Bearer x`,
      `Basic ${Buffer.from(`x:${token}`).toString('base64')}`,
      `Bearer  ${token}`,
      `Bearer "${token}"`,
      `Bearer ${token} x`,
      token,
      'Bearer',
      'Bearer undefined',
      `Bearer ${token.slice(0, -1)}`,
      `Bearer ${token}a`,
    ];
    for (const authorization of values) {
      const grpc = await raw.call(QUERY, frame(Buffer.alloc(0)), { authorization });
      expect(grpc, authorization.replaceAll(token, 'TOKEN')).toMatchObject({
        code: UNAUTHENTICATED,
        reason: 'CALLER_UNKNOWN',
      });
      const http = await connectCall(sidecar.httpUrl, QUERY, {}, { authorization });
      expect(http).toMatchObject({ status: 401, reason: 'CALLER_UNKNOWN' });
    }
    const events = await eventually(
      sidecar,
      { types: ['caller.refused'] },
      (event) => event.reason === 'CALLER_UNKNOWN' && event.caller === 'grpc',
    );
    expect(events.length).toBeGreaterThan(0);
  });

  it('takes a value that HTTP/2 forbids as not sent, so it gives nothing', async () => {
    const answer = await raw.call(QUERY, frame(Buffer.alloc(0)), { authorization: `${good()} ` });
    expect(answer).toMatchObject({ code: DENIED, reason: 'ROLE_MISSING' });
  });

  it('takes no identity from any other metadata', async () => {
    const token = sidecar.operatorToken;
    const claims = {
      'x-user-id': 'root',
      'x-sallyport-role': 'operator',
      'x-sallyport-roles': 'operator',
      'x-forwarded-client-cert': 'By=spiffe://x/operator;URI=spiffe://x/operator',
      'x-forwarded-user': 'operator',
      'authorization-bin': Buffer.from(`Bearer ${token}`).toString('base64'),
      'proxy-authorization': `Bearer ${token}`,
      'x-authorization': `Bearer ${token}`,
      cookie: `authorization=Bearer ${token}`,
    };
    for (const [name, value] of Object.entries(claims)) {
      const grpc = await raw.call(QUERY, frame(Buffer.alloc(0)), { [name]: value });
      expect(grpc, name).toMatchObject({ code: DENIED, reason: 'ROLE_MISSING' });
    }
    const http = await connectCall(sidecar.httpUrl, QUERY, {}, { ...claims, cookie: '' });
    expect(http).toMatchObject({ status: 403, reason: 'ROLE_MISSING' });
  });
});

describe('names that mean something to the language', () => {
  const labels = { constructor: 'a', toString: 'b', hasOwnProperty: 'c', ['__proto__']: 'd' };
  const json = '{"subject":"poison","labels":{"__proto__":"d","constructor":"a","toString":"b","hasOwnProperty":"c"}}';

  it('are labels like any other, in JSON and in binary, or refused as a whole', async () => {
    const state = await watchHarm(sidecar);
    const entry = (key: string, value: string) => {
      const content = Buffer.concat([
        Buffer.from([0x0a, key.length]),
        Buffer.from(key),
        Buffer.from([0x12, value.length]),
        Buffer.from(value),
      ]);
      return Buffer.concat([Buffer.from([0x2a, content.length]), content]);
    };
    const body = Buffer.concat([
      Buffer.from([0x12, 6]),
      Buffer.from('poison'),
      ...Object.entries({ ...labels }).map(([key, value]) => entry(key, value)),
      entry('__proto__', 'd'),
    ]);
    const binary = await raw.call(CREATE, frame(body));
    const overJson = await connectCall(sidecar.httpUrl, CREATE, json);
    for (const code of [binary.code, overJson.status]) expect([0, INVALID, 200, 400]).toContain(code);
    const { sessions } = await sidecar.client().unary(SessionService.method.listSessions, { subject: 'poison' });
    for (const { labels: kept } of sessions) {
      for (const name of ['constructor', 'toString', 'hasOwnProperty']) expect(Object.hasOwn(kept, name)).toBe(true);
    }
    // Nobody else's objects have changed.
    const plain = await connectCall(sidecar.httpUrl, CREATE, { subject: 'plain' });
    expect(JSON.stringify(plain.body)).not.toContain('"d"');
    expect((plain.body['session'] as { labels?: object }).labels ?? {}).toEqual({});
    await state.unharmed();
  });

  it('change the digest of an action like any other detail, or are refused', async () => {
    const open = (details: string) =>
      connectCall(
        sidecar.httpUrl,
        `${ChallengeService.typeName}/OpenChallenge`,
        `{"subject":"poison","action":{"resource":"r","action":"a","details":${details}},"sensitivity":${Sensitivity.LOW}}`,
      );
    const digestOf = (answer: Awaited<ReturnType<typeof open>>) =>
      (answer.body as { challenge?: { action?: { digest?: string } } }).challenge?.action?.digest;
    const plain = await open('{}');
    expect(plain.status).toBe(200);
    for (const name of ['__proto__', 'constructor', 'toString']) {
      const poisoned = await open(`{"${name}":"1"}`);
      if (poisoned.status === 200) expect(digestOf(poisoned), name).not.toBe(digestOf(plain));
      else expect(poisoned).toMatchObject({ code: 'invalid_argument', reason: 'FIELD_INVALID' });
    }
  });
});

it('leaves no trace of a crash in the log after all this', () => {
  expect(sidecar.stdout + sidecar.stderr).not.toMatch(
    /uncaught|unhandled|TypeError|RangeError|"level":"(error|fatal)"/i,
  );
});
