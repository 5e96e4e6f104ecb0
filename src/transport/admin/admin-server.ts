import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { SECOND } from '../../domain/time.ts';
import type { Log } from '../../ports/telemetry.ts';
import { type BoundAddress, type ListenAddress, listenOnEach } from '../listen.ts';

/** The answer to a probe. `lines` say why, in words that may be seen by everybody. */
export interface Verdict {
  readonly ok: boolean;
  readonly lines: readonly string[];
}

export interface AdminServerOptions {
  readonly addresses: readonly ListenAddress[];
  readonly log: Log;
  /** Restart me if not ok. Must not depend on anything outside the process. */
  readonly live: () => Verdict;
  /** Send me traffic if ok. */
  readonly ready: () => Verdict | Promise<Verdict>;
  /** Start-up is done if ok. */
  readonly started: () => Verdict;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly body: string }>;
}

type Page = () => Promise<{ readonly status: number; readonly contentType: string; readonly body: string }>;

const TEXT = 'text/plain; charset=utf-8';
const MAX_CONNECTIONS = 256;

/** Probes and metrics. Reachable from everywhere, so nothing here is secret and nothing can be changed. */
export class AdminServer implements AsyncDisposable {
  readonly #options: AdminServerOptions;
  readonly #pages: ReadonlyMap<string, Page>;
  readonly #servers: Server[] = [];
  #addresses: readonly BoundAddress[] = [];

  constructor(options: AdminServerOptions) {
    this.#options = options;
    const probe = (verdict: () => Verdict | Promise<Verdict>): Page => {
      return async () => {
        const { ok, lines } = await verdict();
        return { status: ok ? 200 : 503, contentType: TEXT, body: `${[ok ? 'ok' : 'not ok', ...lines].join('\n')}\n` };
      };
    };
    this.#pages = new Map<string, Page>([
      ['/livez', probe(options.live)],
      ['/readyz', probe(options.ready)],
      ['/startupz', probe(options.started)],
      ['/metrics', async () => ({ status: 200, ...(await options.metrics()) })],
    ]);
  }

  /** Where it listens; empty before `listen`. */
  get addresses(): readonly BoundAddress[] {
    return this.#addresses;
  }

  /** Binds all addresses, or none. Throws ListenError. */
  async listen(): Promise<void> {
    const bound = await listenOnEach(this.#options.addresses, () => this.#server());
    this.#addresses = bound.map(({ address }) => address);
    this.#servers.push(...bound.map(({ server }) => server));
  }

  /** Stops at once: probes of a process that is gone have nothing to wait for. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#servers.splice(0).map((server) => {
        const closed = new Promise((resolve) => server.close(resolve));
        server.closeAllConnections();
        return closed;
      }),
    );
  }

  #server(): Server {
    const server = createServer(
      {
        headersTimeout: 5 * SECOND,
        requestTimeout: 10 * SECOND,
        keepAliveTimeout: 75 * SECOND,
        maxHeaderSize: 8 * 1024,
        connectionsCheckingInterval: 5 * SECOND,
      },
      (request, response) => this.#handle(request, response),
    );
    server.maxConnections = MAX_CONNECTIONS;
    server.on('clientError', (_error, socket) => socket.destroy());
    return server;
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    request.on('error', () => {});
    response.on('error', () => {});
    request.resume();
    const [path = ''] = (request.url ?? '').split('?', 1);
    const page = this.#pages.get(path);
    if (!page) {
      send(response, 404, TEXT, `Pages here: ${[...this.#pages.keys()].join(' ')}\n`);
      return;
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      send(response, 405, TEXT, 'This page can only be read.\n');
      return;
    }
    page().then(
      ({ status, contentType, body }) => send(response, status, contentType, body),
      (error: unknown) => {
        this.#options.log.error('a page of the admin listener failed', { path, error: String(error) });
        send(response, 500, TEXT, 'not ok\nthe cause is in the log\n');
      },
    );
  }
}

function send(response: ServerResponse, status: number, contentType: string, body: string): void {
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  // Node leaves the body out of answers to HEAD.
  response.end(body);
}
