import { connect } from 'node:http2';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuditService } from '#src/gen/sallyport/v1/audit_pb.js';
import { CreateSessionRequestSchema } from '#src/gen/sallyport/v1/session_pb.js';
import { Sidecar } from '../support/sidecar.ts';

let sidecar: Sidecar;
beforeAll(async () => {
  sidecar = await Sidecar.start();
});
afterAll(() => sidecar[Symbol.asyncDispose]());

/** Headers and trailers of one native gRPC call, as they are on the wire. */
function grpcHeaders(method: string, subject: string, requestId?: string): Promise<Record<string, unknown>> {
  const message = toBinary(CreateSessionRequestSchema, create(CreateSessionRequestSchema, { subject }));
  const frame = Buffer.alloc(5 + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, 5);
  return new Promise((resolve, reject) => {
    const session = connect(`http://${sidecar.grpcAddress}`);
    const seen: Record<string, unknown> = {};
    const stream = session.request({
      ':method': 'POST',
      ':path': `/sallyport.v1.SessionService/${method}`,
      'content-type': 'application/grpc',
      te: 'trailers',
      'x-sallyport-client': 'test',
      ...(requestId === undefined ? {} : { 'x-request-id': requestId }),
    });
    stream.on('response', (headers) => Object.assign(seen, headers));
    stream.on('trailers', (trailers) => Object.assign(seen, trailers));
    stream.on('error', reject);
    stream.on('close', () => {
      session.close();
      resolve(seen);
    });
    stream.resume();
    stream.end(frame);
  });
}

async function connectHeader(method: string, body: unknown, requestId?: string): Promise<string | null> {
  const answer = await fetch(`${sidecar.httpUrl}/sallyport.v1.SessionService/${method}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-sallyport-client': 'test',
      ...(requestId === undefined ? {} : { 'x-request-id': requestId }),
    },
    body: JSON.stringify(body),
  });
  await answer.arrayBuffer();
  return answer.headers.get('x-request-id');
}

const correlationIds = async (subject: string) => {
  const { events } = await sidecar.operator().unary(AuditService.method.queryEvents, { filter: { subject } });
  return events.map((event) => event.correlationId);
};

describe('the request id of a call', () => {
  it('is answered on both protocols and is the one in the trail', async () => {
    const { 'x-request-id': overGrpc } = await grpcHeaders('CreateSession', 'ada');
    const overConnect = await connectHeader('CreateSession', { subject: 'ada' });
    expect(overGrpc).toMatch(/^[a-z0-9]+-[a-z0-9]+$/);
    expect(await correlationIds('ada')).toEqual([overConnect, overGrpc]);
  });

  it('is the one that the caller gave, so that its own log leads here', async () => {
    expect((await grpcHeaders('CreateSession', 'bob', 'trace-1.a:b_c'))['x-request-id']).toBe('trace-1.a:b_c');
    expect(await connectHeader('CreateSession', { subject: 'bob' }, 'trace-2')).toBe('trace-2');
    expect(await correlationIds('bob')).toEqual(['trace-2', 'trace-1.a:b_c']);
  });

  it('is made anew for one that could not stand in a log', async () => {
    for (const unusable of ['a b', 'x'.repeat(65), '{"a":1}']) {
      const { 'x-request-id': answered } = await grpcHeaders('CreateSession', 'eve', unusable);
      expect(answered).toMatch(/^[a-z0-9]+-[a-z0-9]+$/);
      expect(await connectHeader('ListSessions', { subject: 'eve' }, unusable)).toMatch(/^[a-z0-9]+-[a-z0-9]+$/);
    }
  });

  it('comes with refusals too', async () => {
    const refused = await grpcHeaders('CreateSession', '', 'trace-3');
    expect(refused).toMatchObject({ 'grpc-status': '3', 'x-request-id': 'trace-3' });
    expect(await connectHeader('ValidateSession', { token: 'x' }, 'trace-4')).toBe('trace-4');
  });
});
