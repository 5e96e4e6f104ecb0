import { connect } from 'node:net';
import { systemClock } from '#src/adapters/system.ts';
import type { HttpMetrics } from '#src/ports/telemetry.ts';
import { PublicServer, type PublicServerOptions } from '#src/transport/public/public-server.ts';
import type { Route } from '#src/transport/public/router.ts';
import { RecordingLog } from './recording-telemetry.ts';

/** Keeps every observation. */
export class RecordingHttpMetrics implements HttpMetrics {
  readonly seen: { readonly route: string; readonly method: string; readonly status: string }[] = [];

  httpRequest(route: string, method: string, status: string): void {
    this.seen.push({ route, method, status });
  }
}

export interface PublicListener extends AsyncDisposable {
  readonly server: PublicServer;
  readonly log: RecordingLog;
  readonly metrics: RecordingHttpMetrics;
  readonly port: number;
  readonly url: string;
  /** Sends bytes as they are, and answers everything that came back until the connection closed. */
  raw(bytes: string): Promise<string>;
}

/** A public listener on a free port. */
export async function servePublic(
  routes: readonly Route[],
  options: Partial<PublicServerOptions> = {},
): Promise<PublicListener> {
  const log = new RecordingLog();
  const metrics = new RecordingHttpMetrics();
  const server = new PublicServer({
    addresses: [{ kind: 'tcp', host: '127.0.0.1', port: 0 }],
    routes,
    https: false,
    trustProxy: 0,
    maxConnections: 256,
    instanceId: 'test',
    clock: systemClock,
    metrics,
    log,
    ...options,
  });
  await server.listen();
  const [bound] = server.addresses;
  const port = bound?.kind === 'tcp' ? bound.port : 0;
  return {
    server,
    log,
    metrics,
    port,
    url: `http://127.0.0.1:${port}`,
    raw: (bytes) => exchange(port, bytes),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

function exchange(port: number, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => {
      text += chunk;
    });
    // A connection that is cut while it still sends is an answer too.
    socket.on('error', () => {});
    socket.on('close', () => resolve(text));
  });
}
