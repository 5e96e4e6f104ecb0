// gRPC by hand over node:http2, since a grpc-js client takes as much of the two cores as the server that is measured.
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from 'node:http2';
import { setTimeout as pause } from 'node:timers/promises';
import {
  create,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';

/** Flag and length. */
export const PREFIX_BYTES = 5;
export const UNAVAILABLE = 14;
const MOST_TRIES = 50;
const AGAIN_MS = 20;

export function newConnection(port: string | number): ClientHttp2Session {
  return connect(`http://127.0.0.1:${port}`, { settings: { enablePush: false } });
}

export function headersOf(method: DescMethod) {
  return {
    ':method': 'POST',
    ':path': `/${method.parent.typeName}/${method.name}`,
    'content-type': 'application/grpc',
    te: 'trailers',
    'x-sallyport-client': 'bench',
  };
}

export function frameOf(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(PREFIX_BYTES + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, PREFIX_BYTES);
  return frame;
}

export interface Answer<T> {
  /** As gRPC numbers it; 0 is success. */
  readonly status: number;
  /** Undefined unless the status is 0. */
  readonly message: T | undefined;
}

/** One unary call. Rejects when there was no answer at all. */
export function call<M extends DescMethod>(
  connection: ClientHttp2Session,
  method: M,
  request: MessageInitShape<M['input']>,
): Promise<Answer<MessageShape<M['output']>>> {
  const message = toBinary(method.input, create(method.input, request as never) as MessageShape<M['input']>);
  return new Promise((resolve, reject) => {
    const stream = connection.request(headersOf(method));
    let status: number | undefined;
    const chunks: Buffer[] = [];
    const note = (headers: IncomingHttpHeaders) => {
      const said = headers['grpc-status'];
      if (said !== undefined) status = Number(said);
    };
    stream.on('response', note);
    stream.on('trailers', note);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', reject);
    stream.on('close', () => {
      if (status === undefined) return reject(new Error(`${method.name} ended without a status`));
      const reply = Buffer.concat(chunks).subarray(PREFIX_BYTES);
      resolve({ status, message: status === 0 ? (fromBinary(method.output, reply) as never) : undefined });
    });
    stream.end(frameOf(message));
  });
}

/** As `call`, again while it is answered UNAVAILABLE, as applications do it. Throws unless it succeeds in the end. */
export async function mustCall<M extends DescMethod>(
  connection: ClientHttp2Session,
  method: M,
  request: MessageInitShape<M['input']>,
): Promise<MessageShape<M['output']>> {
  for (let tries = 1; ; tries += 1) {
    const { status, message } = await call(connection, method, request);
    if (message !== undefined) return message;
    if (status !== UNAVAILABLE || tries >= MOST_TRIES)
      throw new Error(`${method.name} was answered with status ${status}`);
    await pause(AGAIN_MS);
  }
}
