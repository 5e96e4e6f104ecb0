import { Writable } from 'node:stream';
import { create, type DescMethod, fromBinary, toBinary } from '@bufbuild/protobuf';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { ErrorInfoSchema, RetryInfoSchema } from '#src/gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '#src/gen/google/rpc/status_pb.js';
import type { ApiCalls } from './api-calls.ts';
import type { GrpcClient } from './grpc-client.ts';

/** Everything that one call over gRPC was answered with. */
export interface WireAnswer {
  /** grpc-status. */
  readonly code: number;
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** From RetryInfo; undefined without one. */
  readonly retryMs: number | undefined;
  /** The metadata `sallyport-degraded`; '' without it. */
  readonly degraded: string;
  /** When the call began and ended, by Date.now(). */
  readonly from: number;
  readonly to: number;
}

const LIMIT_MS = 10_000;

/** Calls by descriptors, of which the metadata matters as much as the message. */
export class WireClient {
  readonly #client: Client;
  readonly #headers: Readonly<Record<string, string>>;
  closed = false;

  constructor(address: string, headers: Readonly<Record<string, string>>) {
    this.#client = new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
    this.#headers = headers;
  }

  close(): void {
    this.closed = true;
    this.#client.close();
  }

  /** The answer to a call, or to the first message of a stream. Never rejects. */
  call(method: DescMethod, request: Record<string, unknown>): Promise<WireAnswer> {
    const from = Date.now();
    const path = `/${method.parent.typeName}/${method.name}`;
    const write = (message: Record<string, unknown>) =>
      Buffer.from(toBinary(method.input, create(method.input, message)));
    const read = (bytes: Buffer): object => fromBinary(method.output, bytes);
    const metadata = new Metadata();
    for (const [key, value] of Object.entries(this.#headers)) metadata.set(key, value);
    const options = { deadline: from + LIMIT_MS };
    return new Promise((resolve) => {
      let degraded = '';
      const settle = (error: ServiceError | undefined) =>
        resolve({ ...toldBy(error), degraded: degraded || degradedIn(error?.metadata), from, to: Date.now() });
      const client = this.#client;
      if (method.methodKind === 'unary') {
        const call = client.makeUnaryRequest(path, write, read, request, metadata, options, (error) =>
          settle(error ?? undefined),
        );
        call.on('metadata', (headers) => {
          degraded = degradedIn(headers);
        });
        return;
      }
      const stream =
        method.methodKind === 'bidi_streaming'
          ? client.makeBidiStreamRequest(path, write, read, metadata, options)
          : client.makeServerStreamRequest(path, write, read, request, metadata, options);
      stream.on('metadata', (headers: Metadata) => {
        degraded = degradedIn(headers);
      });
      stream.on('error', settle);
      stream.on('data', () => {
        settle(undefined);
        stream.cancel();
      });
      stream.on('end', () => settle(undefined));
      if (stream instanceof Writable) stream.write(request);
    });
  }
}

/** An API client for those who prepare what a test is about. */
export function apiOver(client: GrpcClient): ApiCalls {
  return {
    unary: (method, request) => client.unary(method, request),
    first: () => Promise.reject(new Error('nothing is prepared over a stream')),
  };
}

function degradedIn(metadata: Metadata | undefined): string {
  return metadata?.get('sallyport-degraded').join(',') ?? '';
}

function toldBy(error: ServiceError | undefined): Pick<WireAnswer, 'code' | 'reason' | 'metadata' | 'retryMs'> {
  if (!error) return { code: 0, reason: '', metadata: {}, retryMs: undefined };
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  const details = bytes instanceof Buffer ? fromBinary(StatusSchema, bytes).details : [];
  const find = (name: string) => details.find(({ typeUrl }) => typeUrl.endsWith(`/google.rpc.${name}`))?.value;
  const [info, retry] = [find('ErrorInfo'), find('RetryInfo')];
  const { reason, metadata } = info ? fromBinary(ErrorInfoSchema, info) : { reason: '', metadata: {} };
  const delay = retry && fromBinary(RetryInfoSchema, retry).retryDelay;
  const retryMs = delay && Number(delay.seconds) * 1_000 + delay.nanos / 1_000_000;
  return { code: error.code, reason, metadata, retryMs };
}
