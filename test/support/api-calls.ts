import {
  create,
  type DescMessage,
  type DescMethod,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf';
import type { Caller, Role } from '#src/domain/caller.ts';
import type { CallContext } from '#src/transport/call.ts';
import type { Endpoint } from '#src/transport/endpoint.ts';
import { methodTable } from '#src/transport/methods.ts';

/** Calls the API, wherever it is: over a connection, or the handlers in this process. Rejects as the call fails. */
export interface ApiCalls {
  unary<M extends DescMethod>(method: M, request: MessageInitShape<M['input']>): Promise<MessageShape<M['output']>>;
  /** The first message of a stream whose request is one message. */
  first<M extends DescMethod>(method: M, request: MessageInitShape<M['input']>): Promise<MessageShape<M['output']>>;
}

const ROLES: readonly Role[] = ['application', 'gateway', 'operator'];
const CALLER: Caller = { roles: new Set(ROLES), name: 'grpc', correlationId: 'corr' };

/** The handlers in this process, with the field rules in front and no transport. */
export class HandlerCalls implements ApiCalls {
  readonly #endpoints: ReadonlyMap<string, Endpoint>;

  constructor(endpoints: ReadonlyMap<string, Endpoint>) {
    this.#endpoints = endpoints;
  }

  async unary<M extends DescMethod>(method: M, request: MessageInitShape<M['input']>) {
    const { endpoint, message } = this.#prepare(method, request);
    const answer = await endpoint.handler(message, contextOf(endpoint));
    return endpoint.complete(answer) as MessageShape<M['output']>;
  }

  async first<M extends DescMethod>(method: M, request: MessageInitShape<M['input']>) {
    const { endpoint, message } = this.#prepare(method, request);
    const leaving = new AbortController();
    const input = method.methodKind === 'bidi_streaming' ? onlyOne(message) : message;
    const stream = endpoint.handler(input, contextOf(endpoint, leaving.signal)) as AsyncIterable<unknown>;
    try {
      for await (const answer of stream) return endpoint.complete(answer) as MessageShape<M['output']>;
    } finally {
      leaving.abort();
    }
    throw new Error(`${method.name} ended without a message`);
  }

  #prepare(method: DescMethod, request: object) {
    const endpoint = this.#endpoints.get(`/${method.parent.typeName}/${method.name}`);
    if (!endpoint) throw new Error(`${method.name} is not served`);
    const message = create(method.input, request as MessageInitShape<DescMessage>);
    endpoint.validate(message);
    return { endpoint, message };
  }
}

/** The method of an RPC named `SessionService/GetSession`. */
export function methodOf(rpc: string): DescMethod {
  const method = methodTable().get(`/sallyport.v1.${rpc}`);
  if (!method) throw new Error(`there is no ${rpc}`);
  return method.desc;
}

function contextOf(endpoint: Endpoint, signal = new AbortController().signal): CallContext {
  return {
    caller: CALLER,
    protocol: 'grpc',
    procedure: endpoint.procedure,
    signal,
    ended: undefined,
    remainingMs: () => Number.POSITIVE_INFINITY,
  };
}

async function* onlyOne(message: object) {
  yield message;
}
