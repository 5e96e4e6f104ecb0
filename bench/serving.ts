import { connect } from 'node:http2';

const PAUSE_MS = 2;
/** grpc.health.v1.HealthCheckResponse with status SERVING, behind the five bytes that frame it. */
const SERVING = Buffer.from([0, 0, 0, 0, 2, 8, 1]);
const EMPTY_REQUEST = Buffer.alloc(5);

/** Resolves once grpc.health.v1.Health/Check on this port of loopback answers SERVING. Throws after `timeoutMs`. */
export async function untilServing(port: number, timeoutMs = 20_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (performance.now() < deadline) {
    if (await isServing(port)) return;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  throw new Error(`nothing is serving on port ${port} after ${timeoutMs} ms`);
}

/** By node:http2 alone, since a gRPC client waits longer and longer between its attempts to connect. */
function isServing(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const session = connect(`http://127.0.0.1:${port}`);
    const settle = (serving: boolean) => {
      session.destroy();
      resolve(serving);
    };
    session.on('error', () => settle(false));
    session.on('connect', () => {
      const stream = session.request({
        ':method': 'POST',
        ':path': '/grpc.health.v1.Health/Check',
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('error', () => settle(false));
      stream.on('end', () => settle(Buffer.concat(chunks).equals(SERVING)));
      stream.end(EMPTY_REQUEST);
    });
  });
}
