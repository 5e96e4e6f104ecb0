import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from 'node:http2';
import { fromBinary } from '@bufbuild/protobuf';
import { ErrorInfoSchema } from '#src/gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '#src/gen/google/rpc/status_pb.js';

export interface RawAnswer {
  readonly httpStatus: number | undefined;
  /** grpc-status; undefined if none came. */
  readonly code: number | undefined;
  readonly message: string;
  readonly reason: string;
  readonly body: Buffer;
  readonly headers: Readonly<Record<string, unknown>>;
}

/** A gRPC message in its frame; `flags` 1 says compressed. */
export function frame(message: Uint8Array, flags = 0): Buffer {
  const bytes = Buffer.alloc(5 + message.length);
  bytes.writeUInt8(flags, 0);
  bytes.writeUInt32BE(message.length, 1);
  bytes.set(message, 5);
  return bytes;
}

/** Says what no well-behaved gRPC client would, over bare HTTP/2. */
export class RawGrpc implements Disposable {
  readonly session: ClientHttp2Session;

  constructor(address: string) {
    this.session = connect(`http://${address}`);
    this.session.on('error', () => {});
  }

  open(procedure: string, headers: OutgoingHttpHeaders = {}): ClientHttp2Stream {
    const stream = this.session.request({
      ':method': 'POST',
      ':path': `/${procedure}`,
      'content-type': 'application/grpc',
      te: 'trailers',
      'x-sallyport-client': 'raw',
      ...headers,
    });
    stream.on('error', () => {});
    return stream;
  }

  async call(procedure: string, body: Uint8Array, headers: OutgoingHttpHeaders = {}): Promise<RawAnswer> {
    const stream = this.open(procedure, headers);
    stream.end(body);
    return await answer(stream);
  }

  [Symbol.dispose](): void {
    this.session.destroy();
  }
}

export async function answer(stream: ClientHttp2Stream): Promise<RawAnswer> {
  const chunks: Buffer[] = [];
  let headers: Record<string, unknown> = {};
  stream.on('response', (received) => {
    headers = { ...headers, ...received };
  });
  stream.on('trailers', (received) => {
    headers = { ...headers, ...received };
  });
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  await new Promise((resolve) => stream.once('close', resolve));
  const details = headers['grpc-status-details-bin'];
  const info =
    typeof details === 'string'
      ? fromBinary(StatusSchema, Buffer.from(details, 'base64')).details.find((one) =>
          one.typeUrl.endsWith('ErrorInfo'),
        )
      : undefined;
  const code = headers['grpc-status'];
  return {
    httpStatus: headers[':status'] as number | undefined,
    code: code === undefined ? undefined : Number(code),
    message: decodeURIComponent(String(headers['grpc-message'] ?? '')),
    reason: info ? fromBinary(ErrorInfoSchema, info.value).reason : '',
    body: Buffer.concat(chunks),
    headers,
  };
}
