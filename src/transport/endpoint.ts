import {
  create,
  type DescMessage,
  fromBinary,
  fromJson,
  isMessage,
  type JsonValue,
  type Message,
  type MessageInitShape,
  toBinary,
} from '@bufbuild/protobuf';
import type { Role } from '../domain/caller.ts';
import { Fault, invalidFields } from '../domain/faults.ts';
import type { RpcMetrics } from '../ports/telemetry.ts';
import type { CallContext, Mounted, Protocol } from './call.ts';
import { CODE_NAMES, errorTypeOf } from './errors.ts';
import { compileValidator, type Validator } from './fields/validator.ts';
import { type Method, methodTable } from './methods.ts';
import { encodeReply } from './shared-reply.ts';

type Handler = (input: unknown, call: CallContext) => unknown;

/** The metric label of every procedure that does not exist. */
export const OTHER_METHOD = '_OTHER';

/** One RPC, ready to be served: its row of the method table, its rules, its handler and its metrics. */
export class Endpoint {
  readonly method: Method;
  readonly procedure: string;
  readonly kind: Method['desc']['methodKind'];
  readonly handler: Handler;
  readonly validate: Validator;
  readonly durations: CallDurations;
  readonly #input: DescMessage;
  readonly #output: DescMessage;
  #admitted: ReadonlySet<Role> | undefined;

  constructor(method: Method, handler: Handler, metrics: RpcMetrics) {
    this.method = method;
    this.procedure = method.procedure;
    this.kind = method.desc.methodKind;
    this.handler = handler;
    this.validate = compileValidator(method.desc.input);
    this.durations = new CallDurations(method.procedure.slice(1), metrics);
    this.#input = method.desc.input;
    this.#output = method.desc.output;
  }

  /** Whether one of the roles is enough. Callers of one listener share one set, so the last answer is mostly the next. */
  admits(roles: ReadonlySet<Role>): boolean {
    const { access } = this.method;
    if (access === 'open' || roles === this.#admitted) return true;
    if (access.isDisjointFrom(roles)) return false;
    this.#admitted = roles;
    return true;
  }

  /** Throws Fault(invalid, FIELD_INVALID) for bytes that are no such message, also for text that is not UTF-8. */
  decode(bytes: Uint8Array): object {
    try {
      return fromBinary(this.#input, bytes, { readUnknownFields: false });
    } catch (error) {
      throw this.#undecodable(error);
    }
  }

  /** Likewise for JSON. Unknown fields are refused: lenient parsing would drop enum names it does not know silently. */
  decodeJson(bytes: Uint8Array): object {
    try {
      return fromJson(this.#input, JSON.parse(UTF8.decode(bytes)) as JsonValue, { ignoreUnknownFields: false });
    } catch (error) {
      throw this.#undecodable(error);
    }
  }

  /** What a handler answered, as a whole message. */
  complete(message: unknown): Message {
    return isMessage(message, this.#output) ? message : create(this.#output, message as MessageInitShape<DescMessage>);
  }

  encode(message: unknown): Uint8Array {
    const complete = this.complete(message);
    return encodeReply(complete, () => toBinary(this.#output, complete));
  }

  /** Names the field where it can. The cause stays out of the answer, since it can hold what was sent. */
  #undecodable(cause: unknown): Fault {
    const text = cause instanceof Error ? cause.message : '';
    const unknown = /key "(\w{1,64})" is unknown$/.exec(text)?.[1];
    if (unknown) return invalidFields([{ field: unknown, description: `is not a field of ${this.#input.typeName}` }]);
    const field = /^cannot decode field [\w.]+\.(\w+) from JSON/.exec(text)?.[1];
    if (field)
      return invalidFields([{ field, description: 'has the wrong type, or a value that this release does not know' }]);
    const unknownIn = /^cannot decode enum [\w.]+\.(\w+) from JSON/.exec(text)?.[1];
    const description = unknownIn
      ? `holds a name that is not a ${unknownIn}`
      : `is not a valid ${this.#input.typeName}`;
    return new Fault('invalid', 'FIELD_INVALID', `message: ${description}`, {
      violations: [{ field: '', description }],
      cause,
    });
  }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true });

/** A message over the limit, whichever transport finds it. */
export function messageTooLarge(maxBytes: number): Fault {
  return new Fault('limited', 'LIMIT_EXCEEDED', `the message is larger than ${maxBytes} bytes`, {
    quota: { subject: 'message', description: `at most ${maxBytes} bytes` },
    metadata: { limit: String(maxBytes) },
  });
}

/** Requests are small, and what compressed ones inflate to is not known before. */
export function compressionRefused(): Fault {
  return new Fault('unimplemented', 'NOT_IMPLEMENTED', 'compressed messages are not taken; send them as they are');
}

/** Histogram children of one method, bound on first use, so that a call costs no label lookup. */
export class CallDurations {
  readonly #method: string;
  readonly #metrics: RpcMetrics;
  readonly #grpc: ((seconds: number) => void)[] = [];
  readonly #connect: ((seconds: number) => void)[] = [];

  constructor(method: string, metrics: RpcMetrics) {
    this.#method = method;
    this.#metrics = metrics;
  }

  observe(protocol: Protocol, code: number, milliseconds: number): void {
    const recorders = protocol === 'connect' ? this.#connect : this.#grpc;
    let record = recorders[code];
    if (!record) {
      const system = protocol === 'connect' ? 'connectrpc' : 'grpc';
      record = this.#metrics.callDuration(system, this.#method, CODE_NAMES[code] ?? 'UNKNOWN', errorTypeOf(code));
      recorders[code] = record;
    }
    record(milliseconds / 1000);
  }
}

/**
 * All endpoints by procedure. Throws if an RPC of this release has no handler, if something is mounted that the method
 * table does not have, or if a service is mounted twice. The services of gRPC itself are served only if mounted.
 */
export function buildEndpoints(mounted: readonly Mounted[], metrics: RpcMetrics): ReadonlyMap<string, Endpoint> {
  const handlersOf = new Map<string, Mounted['handlers']>();
  for (const { service, handlers } of mounted) {
    if (handlersOf.has(service.typeName)) throw new Error(`${service.typeName} is mounted twice`);
    handlersOf.set(service.typeName, handlers);
  }
  const endpoints = new Map<string, Endpoint>();
  const known = new Set<string>();
  for (const method of methodTable().values()) {
    const { parent, localName } = method.desc;
    known.add(parent.typeName);
    const handlers = handlersOf.get(parent.typeName);
    if (method.access === 'open' && !handlers) continue;
    const handler = method.release === 'later' ? notImplemented(method) : handlers?.[localName];
    if (typeof handler !== 'function') throw new Error(`${method.procedure} has no handler`);
    if (method.release === 'later' && handlers?.[localName]) {
      throw new Error(`${method.procedure} has a handler, but the method table marks it as later`);
    }
    endpoints.set(method.procedure, new Endpoint(method, handler.bind(handlers) as Handler, metrics));
  }
  for (const name of handlersOf.keys()) {
    if (!known.has(name)) throw new Error(`${name} is mounted, but not in the method table`);
  }
  return endpoints;
}

function notImplemented(method: Method): Handler {
  return () => {
    throw new Fault(
      'unimplemented',
      'NOT_IMPLEMENTED',
      `${method.procedure.slice(1)} is part of the API, but not of this release`,
      { metadata: { method: method.procedure.slice(1) } },
    );
  };
}

/** For a procedure that is in no proto of ours. Its name is not repeated: it is whatever was on the wire. */
export function unknownProcedure(): Fault {
  return new Fault('unimplemented', 'NOT_IMPLEMENTED', 'no such method here; see server reflection or the API guide');
}
