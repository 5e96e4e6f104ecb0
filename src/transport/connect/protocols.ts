import type { IncomingMessage, ServerResponse } from 'node:http';
import type { DescMethod, Message } from '@bufbuild/protobuf';
import {
  ConnectError,
  createConnectRouter,
  createContextKey,
  createContextValues,
  type HandlerContext,
} from '@connectrpc/connect';
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from '@connectrpc/connect-node';
import type { Fault } from '../../domain/faults.ts';
import type { Endpoint } from '../endpoint.ts';
import { toWireError } from '../errors.ts';
import { DEGRADED_HEADER } from '../identity.ts';
import type { LiveCall } from '../live-call.ts';
import type { Pipeline } from '../pipeline.ts';
import type { Pump } from '../pump.ts';
import { MessageChannel } from './message-channel.ts';
import type { BodyForm } from './request-body.ts';

/** A call whose request was read already, or refused. */
export type Exchange =
  | { readonly call: LiveCall; readonly form: BodyForm; readonly request: object }
  | { readonly call: LiveCall; readonly form: BodyForm; readonly fault: Fault };

export type Answer = (request: IncomingMessage, response: ServerResponse, exchange: Exchange) => Promise<void>;

/** Headers about what was read and timed already, so that they are not acted upon twice. */
const CONSUMED = [
  'content-length',
  'content-encoding',
  'connect-content-encoding',
  'grpc-encoding',
  'connect-timeout-ms',
  'grpc-timeout',
  'accept-encoding',
  'connect-accept-encoding',
  'grpc-accept-encoding',
];

/**
 * Writes answers in Connect and gRPC-Web, by connect-node. Requests are read before and given to it empty: so size limit,
 * deadline and every refusal are the same as for native gRPC, and it only says them in the words of its protocols.
 */
export function connectProtocols(endpoints: Iterable<Endpoint>, pipeline: Pipeline): Answer {
  const exchangeKey = createContextKey<Exchange | undefined>(undefined, { description: 'exchange' });
  const exchangeOf = (context: HandlerContext): Exchange => {
    const exchange = context.values.get(exchangeKey);
    if (!exchange) throw new Error('a call without an exchange');
    return exchange;
  };
  const unary = (_empty: unknown, context: HandlerContext) => answerUnary(pipeline, exchangeOf(context));
  const stream = (_empty: unknown, context: HandlerContext) => answerStream(pipeline, exchangeOf(context));

  const router = createConnectRouter({ grpc: false, grpcWeb: true, connect: true });
  for (const { method, kind } of endpoints) {
    if (kind === 'bidi_streaming') continue;
    router.rpc(
      method.desc as DescMethod & { methodKind: 'unary' },
      (kind === 'unary' ? unary : stream) as typeof unary,
    );
  }
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));

  return async (request, response, exchange) => {
    const values = createContextValues().set(exchangeKey, exchange);
    const universal = universalRequestFromNodeRequest(request, response, undefined, values);
    const header = new Headers(universal.header);
    for (const name of CONSUMED) header.delete(name);
    const handler = handlers.get(exchange.call.procedure);
    if (!handler) throw new Error('a call without a protocol handler');
    const answer = await handler({ ...universal, header, body: emptyBody(exchange.form) });
    // Last, as on native gRPC: the call itself may be how the outage was noticed.
    if (pipeline.degraded !== '') response.setHeader(DEGRADED_HEADER, pipeline.degraded);
    await universalResponseToNodeResponse(answer, response);
  };
}

async function* emptyBody({ json, enveloped }: BodyForm): AsyncGenerator<Uint8Array> {
  const message = Buffer.from(json ? '{}' : '');
  if (!enveloped) {
    yield message;
    return;
  }
  const envelope = Buffer.alloc(5);
  envelope.writeUInt32BE(message.length, 1);
  yield Buffer.concat([envelope, message]);
}

function answerUnary(pipeline: Pipeline, exchange: Exchange): Promise<Message> {
  const { call } = exchange;
  return new Promise((resolve, reject) => {
    const fail = (fault: Fault) => {
      pipeline.settle(call, fault);
      call.release();
      reject(toConnectError(fault));
    };
    if ('fault' in exchange) {
      fail(exchange.fault);
      return;
    }
    pipeline.serveUnary(call, exchange.request, {
      fail,
      reply: (message) => {
        let whole: Message;
        try {
          whole = encodable(call, message);
        } catch (thrown) {
          fail(pipeline.toFault(call, thrown));
          return;
        }
        pipeline.settle(call);
        resolve(whole);
      },
    });
  });
}

function answerStream(pipeline: Pipeline, exchange: Exchange): AsyncIterable<Message> {
  const { call } = exchange;
  let pump: Pump | undefined;
  const channel = new MessageChannel({
    complete: (message) => encodable(call, message),
    room: () => pump?.room(),
    settle: (fault) => {
      pipeline.settle(call, fault);
      if (fault) call.release();
    },
    toError: toConnectError,
  });
  if ('fault' in exchange) channel.fail(exchange.fault);
  else pump = pipeline.serveStream(call, exchange.request, channel);
  return channel;
}

/** Encoded once for the check, so that a fault of ours stays opaque; connect would put its text on the wire. */
function encodable(call: LiveCall, message: unknown): Message {
  const whole = call.endpoint.complete(message);
  call.endpoint.encode(whole);
  return whole;
}

function toConnectError(fault: Fault): ConnectError {
  const { code, message, details } = toWireError(fault);
  return new ConnectError(message, code, undefined, [...details]);
}
