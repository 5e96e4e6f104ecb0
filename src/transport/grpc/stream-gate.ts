import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Server } from '@grpc/grpc-js';
import type { Fault } from '../../domain/faults.ts';
import type { DurationMs } from '../../domain/time.ts';
import { compressionRefused, unknownProcedure } from '../endpoint.ts';
import { toWireError } from '../errors.ts';
import { parseGrpcTimeout } from '../timeout.ts';
import { encodeGrpcMessage, statusDetails } from './status.ts';

/** What the HTTP/2 headers of a call say that grpc-js does not pass on as it came. */
export interface Arrival {
  readonly stream: ServerHttp2Stream;
  readonly timeoutMs: DurationMs | undefined;
  /** Every value of the header: HTTP/2 in Node keeps the first one only and hides the others. */
  readonly authorization: readonly string[];
}

export interface GateOptions {
  readonly serves: (path: string) => boolean;
  /** Called with the answer to a call that never gets to grpc-js, for the metrics. */
  readonly refused: (path: string, fault: Fault) => void;
  /** Called with what must not happen: a throw while a call is built. */
  readonly failed: (error: unknown) => void;
}

type StreamHandler = (
  interceptors: unknown,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags?: number,
  rawHeaders?: readonly string[],
) => void;

const CONTENT_TYPE = /^application\/grpc(\+proto)?\s*(;|$)/i;
const NO_AUTHORIZATION: readonly string[] = [];

/**
 * Stands in front of grpc-js and takes the decisions that grpc-js takes wrongly for us: it squeezes timeouts into 32 bits
 * and runs them itself, accepts gRPC-Web without speaking it, inflates compressed messages, hides repeated headers, and
 * answers unknown methods without error details. `arrival` is valid while grpc-js builds the call, which it does at once.
 */
export class StreamGate {
  readonly #options: GateOptions;
  #arrival: Arrival | undefined;

  /** Throws if this version of grpc-js has no such place any more. */
  constructor(server: Server, options: GateOptions) {
    this.#options = options;
    const original: unknown = Reflect.get(server, '_streamHandler');
    if (typeof original !== 'function' || original.length !== 3) {
      throw new Error('this version of @grpc/grpc-js handles streams in another way than the one this was built for');
    }
    const handle = original.bind(server) as StreamHandler;
    const gated: StreamHandler = (interceptors, stream, headers, _flags, rawHeaders) => {
      try {
        this.#arrival = this.#admit(stream, headers, rawHeaders);
        if (this.#arrival) handle(interceptors, stream, headers);
      } catch (error) {
        // Thrown on, it would end the process; so it ends one call.
        this.#options.failed(error);
        stream.on('error', () => {});
        stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      } finally {
        this.#arrival = undefined;
      }
    };
    Reflect.set(server, '_streamHandler', gated);
  }

  get arrival(): Arrival {
    if (!this.#arrival) throw new Error('no call is being built');
    return this.#arrival;
  }

  #admit(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    rawHeaders: readonly string[] | undefined,
  ): Arrival | undefined {
    if (!CONTENT_TYPE.test(headers['content-type'] ?? '')) {
      respond(stream, { ':status': 415 });
      return undefined;
    }
    const path = String(headers[':path']);
    let fault: Fault;
    if (!this.#options.serves(path)) {
      fault = unknownProcedure();
    } else {
      try {
        return {
          stream,
          timeoutMs: takeTimeout(headers),
          authorization: headers.authorization === undefined ? NO_AUTHORIZATION : authorizationOf(headers, rawHeaders),
        };
      } catch (thrown) {
        fault = thrown as Fault;
      }
    }
    this.#options.refused(path, fault);
    const error = toWireError(fault);
    respond(stream, {
      ':status': 200,
      'content-type': 'application/grpc+proto',
      'grpc-accept-encoding': 'identity',
      'grpc-status': String(error.code),
      'grpc-message': encodeGrpcMessage(error.message),
      'grpc-status-details-bin': statusDetails(error).toString('base64'),
    });
    return undefined;
  }
}

/** Deadlines are ours, so grpc-js must not see the header. */
function takeTimeout(headers: IncomingHttpHeaders): DurationMs | undefined {
  const encoding = headers['grpc-encoding'];
  if (encoding !== undefined && encoding !== 'identity') {
    throw compressionRefused();
  }
  const timeout = headers['grpc-timeout'];
  if (timeout === undefined) return undefined;
  delete headers['grpc-timeout'];
  return parseGrpcTimeout(String(timeout));
}

function authorizationOf(headers: IncomingHttpHeaders, rawHeaders: readonly string[] | undefined): readonly string[] {
  const values: string[] = [];
  for (let i = 0; i + 1 < (rawHeaders?.length ?? 0); i += 2) {
    if (rawHeaders?.[i]?.toLowerCase() === 'authorization') values.push(rawHeaders[i + 1] ?? '');
  }
  return values.length > 0 ? values : [headers.authorization ?? ''];
}

function respond(stream: ServerHttp2Stream, headers: Record<string, string | number>): void {
  stream.on('error', () => {});
  // What the caller still sends is discarded.
  stream.resume();
  if (!stream.destroyed && !stream.closed) stream.respond(headers, { endStream: true });
}
