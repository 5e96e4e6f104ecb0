import type { IncomingMessage } from 'node:http';
import { Fault } from '../../domain/faults.ts';
import type { Protocol } from '../call.ts';
import { compressionRefused, messageTooLarge } from '../endpoint.ts';
import { endFault, type LiveCall } from '../live-call.ts';

/** How the body of a request is written, from its content type. */
export interface BodyForm {
  readonly protocol: Protocol;
  readonly json: boolean;
  /** In an envelope of flags and length, as streams and gRPC-Web have it. */
  readonly enveloped: boolean;
}

const FORMS: ReadonlyMap<string, BodyForm> = new Map([
  ['application/proto', { protocol: 'connect', json: false, enveloped: false }],
  ['application/json', { protocol: 'connect', json: true, enveloped: false }],
  ['application/connect+proto', { protocol: 'connect', json: false, enveloped: true }],
  ['application/connect+json', { protocol: 'connect', json: true, enveloped: true }],
  ['application/grpc-web', { protocol: 'grpc-web', json: false, enveloped: true }],
  ['application/grpc-web+proto', { protocol: 'grpc-web', json: false, enveloped: true }],
  ['application/grpc-web+json', { protocol: 'grpc-web', json: true, enveloped: true }],
]);

/** Undefined for everything that is not one of the protocols, forms of web pages above all. */
export function bodyForm(contentType: string | undefined): BodyForm | undefined {
  const [type = '', ...parameters] = (contentType ?? '').toLowerCase().split(';');
  const charset = parameters.map((one) => one.trim()).find((one) => one.startsWith('charset='));
  return charset === undefined || charset === 'charset=utf-8' ? FORMS.get(type.trim()) : undefined;
}

const ENVELOPE_BYTES = 5;

/**
 * The bytes of the one message in a request. Throws Fault(limited, LIMIT_EXCEEDED) without reading on, Fault(invalid,
 * STREAM_ORDER) if there is not exactly one message, and the fault of the call if it ends before.
 */
export async function readMessage(
  request: IncomingMessage,
  form: BodyForm,
  maxMessageBytes: number,
  call: LiveCall,
): Promise<Uint8Array> {
  // Named differently in each protocol, and never needed.
  for (const name of ['content-encoding', 'connect-content-encoding', 'grpc-encoding']) {
    if ((request.headers[name] ?? 'identity') !== 'identity') throw compressionRefused();
  }
  const body = await readBody(request, maxMessageBytes + (form.enveloped ? ENVELOPE_BYTES : 0), call);
  if (!body) throw messageTooLarge(maxMessageBytes);
  return form.enveloped ? unwrap(body) : body;
}

/** Undefined if there is more than `maxBytes`. */
function readBody(request: IncomingMessage, maxBytes: number, call: LiveCall): Promise<Buffer | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return Promise.resolve(undefined);
  const chunks: Buffer[] = [];
  let length = 0;
  return new Promise((resolve, reject) => {
    const done = () => {
      request.off('data', onData);
      call.signal.removeEventListener('abort', onEnd);
    };
    const onEnd = () => {
      done();
      request.pause();
      reject(endFault(call.ended ?? 'cancelled'));
    };
    const onData = (chunk: Buffer) => {
      length += chunk.length;
      chunks.push(chunk);
      if (length <= maxBytes) return;
      done();
      request.pause();
      resolve(undefined);
    };
    if (call.signal.aborted) {
      onEnd();
      return;
    }
    call.signal.addEventListener('abort', onEnd);
    request.on('data', onData);
    request.once('end', () => {
      done();
      resolve(Buffer.concat(chunks, length));
    });
    request.once('error', onEnd);
    request.once('close', onEnd);
  });
}

function unwrap(body: Buffer): Buffer {
  if (body.length < ENVELOPE_BYTES) throw new Fault('invalid', 'STREAM_ORDER', 'the request message is missing');
  if (body.readUInt8(0) !== 0 || body.readUInt32BE(1) !== body.length - ENVELOPE_BYTES) {
    throw new Fault('invalid', 'STREAM_ORDER', 'the body must be exactly one uncompressed message in its envelope');
  }
  return body.subarray(ENVELOPE_BYTES);
}
