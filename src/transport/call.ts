import type { DescMethod, DescService, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import type { Caller } from '../domain/caller.ts';

/** How the call came in; `rpc.system.name` is derived from it. */
export type Protocol = 'grpc' | 'grpc-web' | 'connect';

/**
 * What a handler sees of its call, the same on every transport. The adapters race each handler against `signal`, so a
 * handler must have no side effect after `signal` has aborted.
 */
export interface CallContext {
  readonly caller: Caller;
  readonly protocol: Protocol;
  /** `/package.Service/Method`, resolved, never raw text from the wire. */
  readonly procedure: string;
  /** Aborts on cancellation, deadline and shutdown of streams. Made on first use. */
  readonly signal: AbortSignal;
  /** Why `signal` aborted: set before it does. */
  readonly ended: 'cancelled' | 'deadline' | 'shutdown' | undefined;
  /** Milliseconds left until the deadline, Infinity when there is none. */
  remainingMs(): number;
}

type Unary<M extends DescMethod> = (
  request: MessageShape<M['input']>,
  call: CallContext,
) => MessageInitShape<M['output']> | Promise<MessageInitShape<M['output']>>;
type ServerStream<M extends DescMethod> = (
  request: MessageShape<M['input']>,
  call: CallContext,
) => AsyncIterable<MessageInitShape<M['output']>>;
type BidiStream<M extends DescMethod> = (
  requests: AsyncIterable<MessageShape<M['input']>>,
  call: CallContext,
) => AsyncIterable<MessageInitShape<M['output']>>;

export type HandlerOf<M extends DescMethod> = M extends { methodKind: 'unary' }
  ? Unary<M>
  : M extends { methodKind: 'server_streaming' }
    ? ServerStream<M>
    : BidiStream<M>;

/**
 * All handlers of a service; written once, served by every transport. `Later` names the RPCs that the method table marks
 * as part of the API but not of this release: they need no handler and answer UNIMPLEMENTED.
 */
export type Handlers<S extends DescService, Later extends keyof S['method'] = never> = {
  readonly [K in Exclude<keyof S['method'], Later>]: HandlerOf<S['method'][K]>;
};

/** A service with its handlers, ready to be mounted. */
export interface Mounted {
  readonly service: DescService;
  readonly handlers: Readonly<Record<string, unknown>>;
}

/** Start fails if an RPC of this release is left out here. */
export function mount<S extends DescService>(service: S, handlers: Partial<Handlers<S>>): Mounted {
  return { service, handlers: handlers as Readonly<Record<string, unknown>> };
}
