import type { IncomingMessage } from 'node:http';

/** `broken`: the client went away or was cut, so nobody waits for an answer. */
export type Body =
  | { readonly outcome: 'read'; readonly bytes: Buffer }
  | { readonly outcome: 'too-large' }
  | { readonly outcome: 'broken' };

/** Reads at most `maxBytes`; what comes after them is not kept. How long it may take is the server's business. */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<Body> {
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return Promise.resolve({ outcome: 'too-large' });
  const chunks: Buffer[] = [];
  let length = 0;
  return new Promise((resolve) => {
    const onData = (chunk: Buffer) => {
      length += chunk.length;
      if (length <= maxBytes) {
        chunks.push(chunk);
        return;
      }
      request.off('data', onData);
      chunks.length = 0;
      resolve({ outcome: 'too-large' });
    };
    request.on('data', onData);
    request.once('end', () => resolve({ outcome: 'read', bytes: Buffer.concat(chunks) }));
    request.once('error', () => resolve({ outcome: 'broken' }));
    request.once('close', () => resolve({ outcome: 'broken' }));
  });
}

/** Whether a request announces a body (RFC 9112 section 6). */
export function hasBody(request: IncomingMessage): boolean {
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
  return coding !== undefined || (length !== undefined && length !== '0');
}

/** Whether the body is of the type, in UTF-8 and not compressed. */
export function isOfType(request: IncomingMessage, type: string): boolean {
  const [found = '', ...parameters] = (request.headers['content-type'] ?? '').toLowerCase().split(';');
  const plain = (request.headers['content-encoding'] ?? 'identity') === 'identity';
  return plain && found.trim() === type && parameters.every((one) => one.trim() === 'charset=utf-8');
}
