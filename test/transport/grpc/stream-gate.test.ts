import { EventEmitter } from 'node:events';
import type { ServerHttp2Stream } from 'node:http2';
import type { Server } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { StreamGate } from '#src/transport/grpc/stream-gate.ts';
import { callFields, END_HEADERS, END_STREAM, FRAME, FramePeer, hpack } from '../../support/http2-frames.ts';
import { frame } from '../../support/raw-grpc.ts';
import { OPERATOR_TOKEN, serveGrpc } from '../../support/transport.ts';

const QUERY = '/sallyport.v1.AuditService/QueryEvents';

describe('a repeated authorization header', () => {
  let served: Awaited<ReturnType<typeof serveGrpc>>;
  let answered = 0;
  beforeAll(async () => {
    const query = () => {
      answered += 1;
      return {};
    };
    const handlers = { [QUERY.slice(1)]: query };
    served = await serveGrpc({ roles: [], handlers });
  });
  afterAll(() => served.server.drain(0));

  it.each([
    ['a good token once', [OPERATOR_TOKEN], 1],
    ['a good token before another', [OPERATOR_TOKEN, 'guessed'], 0],
    ['a good token after another', ['guessed', OPERATOR_TOKEN], 0],
    ['the same good token twice', [OPERATOR_TOKEN, OPERATOR_TOKEN], 0],
  ] as const)('over gRPC: %s', async (_, tokens, answers) => {
    const before = answered;
    const refusals = served.served.refusals.events.length;
    using peer = await FramePeer.open(Number(served.address.split(':').at(-1)));
    const headers = tokens.map((token) => ['authorization', `Bearer ${token}`] as const);
    peer.send(FRAME.HEADERS, END_HEADERS, 1, hpack(callFields(QUERY, headers)));
    peer.send(FRAME.DATA, END_STREAM, 1, frame(Buffer.alloc(0)));
    await peer.until((one) => one.stream === 1);
    expect(answered - before).toBe(answers);
    expect(served.served.refusals.events.slice(refusals).map(({ reason }) => reason)).toEqual(
      answers === 1 ? [] : ['CALLER_UNKNOWN'],
    );
  });
});

describe('a throw while a call is built', () => {
  it('ends that stream and is reported, and nothing is thrown on', () => {
    const thrown = new Error('a header that nobody expected');
    const server = {
      _streamHandler: (_interceptors: unknown, _stream: unknown, _headers: unknown) => {
        throw thrown;
      },
    };
    const failed: unknown[] = [];
    new StreamGate(server as unknown as Server, {
      serves: () => true,
      refused: () => {},
      failed: (error) => failed.push(error),
    });
    const closed: unknown[] = [];
    const stream = Object.assign(new EventEmitter(), { close: (code: number) => closed.push(code) });
    const headers = { ':path': QUERY, 'content-type': 'application/grpc' };
    expect(() => server._streamHandler([], stream as unknown as ServerHttp2Stream, headers)).not.toThrow();
    expect(failed).toEqual([thrown]);
    expect(closed).toEqual([2]);
    expect(() => stream.emit('error', new Error('reset'))).not.toThrow();
  });
});
