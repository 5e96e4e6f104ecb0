import { create, toBinary } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import type { ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Fault, type FaultKind } from '#src/domain/faults.ts';
import { StatusSchema } from '#src/gen/google/rpc/status_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { codeOf, statusBytes, toWireError } from '#src/transport/errors.ts';
import { GrpcClient } from '../support/grpc-client.ts';
import { serveConnect, serveGrpc } from '../support/transport.ts';

const KINDS: readonly FaultKind[] = [
  'invalid',
  'unauthenticated',
  'denied',
  'not-found',
  'exists',
  'precondition',
  'limited',
  'out-of-range',
  'unavailable',
  'deadline',
  'cancelled',
  'unimplemented',
];

/** With everything a fault can have, and a message that is not ASCII. */
const faultOf = (kind: FaultKind) =>
  new Fault(kind, 'SUBJECT_LOCKED', `nicht möglich: ${kind} – 100 %`, {
    metadata: { kind, name: 'Zoë' },
    retryAfterMs: 2_500,
    quota: { subject: 'subject', description: 'five attempts' },
    violations: [{ field: 'action.details', description: 'too long' }],
    preconditions: [{ type: 'MFA', subject: 'alice', description: 'enrol first' }],
  });

const kindOf = (request: { readonly token: string }) => request.token as FaultKind;
const handlers = {
  'sallyport.v1.SessionService/ValidateSession': (request: { readonly token: string }) => {
    if (request.token === 'bug') throw new TypeError('secret internals');
    throw faultOf(kindOf(request));
  },
  'sallyport.v1.SessionService/WatchRevocations': async function* (request: { readonly cursor: string }) {
    yield { cursor: '1' };
    if (request.cursor === 'bug') throw new TypeError('secret internals');
    throw faultOf(request.cursor as FaultKind);
  },
};

interface Seen {
  readonly code: number;
  readonly message: string;
  /** google.rpc.Status, whole. */
  readonly status: Buffer;
}

let grpc: Awaited<ReturnType<typeof serveGrpc>>;
let connect: Awaited<ReturnType<typeof serveConnect>>;
let client: GrpcClient;
const transports = new Map<string, Transport>();

beforeAll(async () => {
  grpc = await serveGrpc({ handlers });
  connect = await serveConnect({ handlers });
  client = new GrpcClient(grpc.address);
  const interceptors = [
    (next: (request: never) => Promise<never>) => (request: { readonly header: Headers }) => {
      request.header.set('x-sallyport-client', 'test');
      return next(request as never);
    },
  ];
  const options = { baseUrl: connect.url, httpVersion: '1.1', interceptors } as const;
  transports.set('connect', createConnectTransport({ ...options, useBinaryFormat: true } as never));
  transports.set('connect json', createConnectTransport({ ...options, useBinaryFormat: false } as never));
  transports.set('grpc-web', createGrpcWebTransport(options as never));
});

afterAll(async () => {
  client.close();
  await Promise.all([grpc.server.drain(0), connect.server.drain(0)]);
});

function seenByGrpc(error: ServiceError): Seen {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  return { code: error.code, message: error.details, status: bytes as Buffer };
}

function seenByConnect(thrown: unknown): Seen {
  const error = ConnectError.from(thrown);
  const details = error.details.map((detail) => {
    const { type, value } = detail as { readonly type: string; readonly value: Uint8Array };
    return { typeUrl: `type.googleapis.com/${type}`, value };
  });
  const status = create(StatusSchema, { code: error.code, message: error.rawMessage, details });
  return { code: error.code, message: error.rawMessage, status: Buffer.from(toBinary(StatusSchema, status)) };
}

async function failure(call: Promise<unknown>): Promise<unknown> {
  return await call.then(
    () => expect.fail('the call succeeded'),
    (error: unknown) => error,
  );
}

async function drainStream(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of stream);
}

async function unary(protocol: string, token: string): Promise<Seen> {
  if (protocol === 'grpc') {
    return seenByGrpc((await failure(client.unary(SessionService.method.validateSession, { token }))) as ServiceError);
  }
  const transport = transports.get(protocol) as Transport;
  return seenByConnect(await failure(createClient(SessionService, transport).validateSession({ token })));
}

async function stream(protocol: string, cursor: string): Promise<Seen> {
  if (protocol === 'grpc') {
    const call = client.serverStream(SessionService.method.watchRevocations, { cursor });
    return seenByGrpc((await failure(drainStream(call))) as ServiceError);
  }
  const transport = transports.get(protocol) as Transport;
  return seenByConnect(
    await failure(drainStream(createClient(SessionService, transport).watchRevocations({ cursor }))),
  );
}

describe.each(['grpc', 'connect', 'connect json', 'grpc-web'])('over %s', (protocol) => {
  it.each(KINDS)('a unary fault of kind %s arrives with its code and the same bytes of details', async (kind) => {
    const expected = toWireError(faultOf(kind));
    const seen = await unary(protocol, kind);
    expect(seen).toMatchObject({ code: codeOf(faultOf(kind)), message: expected.message });
    expect(seen.status.equals(statusBytes(expected))).toBe(true);
  });

  it.each(KINDS)('a fault of kind %s after the first message of a stream arrives likewise', async (kind) => {
    const seen = await stream(protocol, kind);
    expect(seen.code).toBe(codeOf(faultOf(kind)));
    expect(seen.status.equals(statusBytes(toWireError(faultOf(kind))))).toBe(true);
  });

  it('a bug arrives as an opaque internal error with an error id', async () => {
    for (const seen of [await unary(protocol, 'bug'), await stream(protocol, 'bug')]) {
      expect(seen.code).toBe(Code.Internal);
      expect(seen.message).toMatch(/errorId test-/);
      expect(seen.status.toString()).not.toContain('internals');
    }
  });
});
