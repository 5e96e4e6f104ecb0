import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Fault } from '../../domain/faults.ts';
import { type DurationMs, SECOND } from '../../domain/time.ts';
import type { Clock } from '../../ports/runtime.ts';
import type { HttpMetrics, Log } from '../../ports/telemetry.ts';
import { REQUEST_ID_HEADER, usableRequestId } from '../identity.ts';
import { type BoundAddress, type ListenAddress, listenOnEach } from '../listen.ts';
import { AddressLimiter } from './address-limiter.ts';
import { addressGroup, clientAddress } from './client-address.ts';
import { ConnectionGuard } from './connection-guard.ts';
import type { Visit } from './contract.ts';
import { hasBody, isOfType, readBody } from './request-body.ts';
import { type Found, type PublicReply, type Route, type RouteKind, Router, text } from './router.ts';
import { securityHeaders } from './security-headers.ts';

export interface PublicLimits {
  /** Of a request's line and headers, and of its body. */
  readonly headerBytes: number;
  readonly bodyBytes: number;
  /** Of path and query; longer ones are nobody's. */
  readonly targetBytes: number;
  readonly headersMs: DurationMs;
  /** For headers and body together. */
  readonly requestMs: DurationMs;
  /** For what answers; longer is 503. */
  readonly handlerMs: DurationMs;
  /** A connection over which nothing moves is cut. */
  readonly silenceMs: DurationMs;
  readonly connectionsPerAddress: number;
  /** Requests that routes work at; more are 503, so that what is behind them is not piled up on. */
  readonly concurrent: number;
  /** Requests of one address. */
  readonly rate: Readonly<Record<RouteKind, { readonly burst: number; readonly perSecond: number }>>;
  readonly maxAddresses: number;
}

export const PUBLIC_LIMITS: PublicLimits = {
  headerBytes: 16 * 1024,
  bodyBytes: 16 * 1024,
  targetBytes: 2 * 1024,
  headersMs: 5 * SECOND,
  requestMs: 10 * SECOND,
  handlerMs: 10 * SECOND,
  silenceMs: 30 * SECOND,
  connectionsPerAddress: 128,
  concurrent: 256,
  rate: {
    // A page is half a dozen requests, and an office shares one address.
    page: { burst: 300, perSecond: 50 },
    api: { burst: 60, perSecond: 5 },
    callback: { burst: 1_000, perSecond: 200 },
  },
  maxAddresses: 10_000,
};

export interface PublicServerOptions {
  readonly addresses: readonly ListenAddress[];
  readonly routes: readonly Route[];
  /** Browsers reach it by https, whoever ends TLS. */
  readonly https: boolean;
  /** Proxies in front of it whose X-Forwarded-For entries are believed. */
  readonly trustProxy: number;
  readonly maxConnections: number;
  /** Prefix of request ids, so that those of many sidecars differ. */
  readonly instanceId: string;
  readonly clock: Clock;
  readonly metrics: HttpMetrics;
  readonly log: Log;
  readonly limits?: Partial<PublicLimits>;
}

/** Route and method of requests that have none here; keeps the labels of metrics a closed set. */
const OTHER = '_OTHER';
const MAX_AGENT = 512;

/**
 * What browsers of end users and providers reach. It serves its routes and nothing else: no call of the API is among
 * them. No cookie is set or read, no CORS header is sent, and no path, query, address or header gets into log or metrics.
 */
export class PublicServer implements AsyncDisposable {
  readonly #options: PublicServerOptions;
  readonly #limits: PublicLimits;
  readonly #router: Router;
  readonly #limiters: Readonly<Record<RouteKind, AddressLimiter>>;
  readonly #connections: ConnectionGuard;
  readonly #servers: Server[] = [];
  #addresses: readonly BoundAddress[] = [];
  #requests = 0;
  #working = 0;
  #stopped: Promise<void> | undefined;
  #clean = true;

  constructor(options: PublicServerOptions) {
    this.#options = options;
    this.#limits = { ...PUBLIC_LIMITS, ...options.limits };
    this.#router = new Router(options.routes);
    const limiter = (kind: RouteKind) =>
      new AddressLimiter({
        ...this.#limits.rate[kind],
        maxAddresses: this.#limits.maxAddresses,
        monotonic: () => options.clock.monotonic(),
      });
    this.#limiters = { page: limiter('page'), api: limiter('api'), callback: limiter('callback') };
    this.#connections = new ConnectionGuard({
      // Behind a proxy, all connections come from it.
      perAddress: options.trustProxy === 0 ? this.#limits.connectionsPerAddress : Number.POSITIVE_INFINITY,
      headers: securityHeaders({ https: options.https, page: false }),
    });
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

  /** Stops accepting, lets requests finish, and cuts what is left after `graceMs`. True if nothing was cut. */
  async drain(graceMs: DurationMs): Promise<boolean> {
    const cancel = this.#options.clock.schedule(graceMs, () => {
      this.#clean = false;
      for (const server of this.#servers) server.closeAllConnections();
    });
    this.#stopped ??= this.#stop();
    await this.#stopped;
    cancel();
    return this.#clean;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain(0);
  }

  #server(): Server {
    const { headerBytes, headersMs, requestMs, silenceMs } = this.#limits;
    const server = createServer(
      {
        headersTimeout: headersMs,
        requestTimeout: requestMs,
        // A proxy keeps its connections for about a minute and has to be the one that closes; browsers come back.
        keepAliveTimeout: this.#options.trustProxy > 0 ? 75 * SECOND : 5 * SECOND,
        connectionsCheckingInterval: Math.min(SECOND, headersMs),
        maxHeaderSize: headerBytes,
        // Node would answer without our headers; `#reply` looks at Host itself.
        requireHostHeader: false,
        noDelay: true,
      },
      (request, response) => this.#accept(request, response),
    );
    server.maxConnections = this.#options.maxConnections;
    server.setTimeout(silenceMs);
    server.on('connection', (socket: Socket) => this.#connections.admit(socket));
    server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      this.#connections.refuse(error, socket);
    });
    // Node would answer 417 without our headers.
    server.on('checkExpectation', (request, response) => this.#accept(request, response));
    return server;
  }

  async #stop(): Promise<void> {
    await Promise.all(
      this.#servers.map((server) => {
        const closed = new Promise((resolve) => server.close(resolve));
        server.closeIdleConnections();
        return closed;
      }),
    );
  }

  #accept(request: IncomingMessage, response: ServerResponse): void {
    request.on('error', () => {});
    response.on('error', () => {});
    this.#connections.began(request.socket);
    response.once('close', () => {
      this.#connections.ended(request.socket);
      if (this.#stopped)
        setImmediate(() => {
          for (const server of this.#servers) server.closeIdleConnections();
        });
    });
    this.#answer(request, response).catch((error: unknown) => {
      this.#options.log.debug('an exchange with a browser broke off', { error: String(error) });
      response.destroy();
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { clock, metrics, log } = this.#options;
    const startedAt = clock.monotonic();
    const visit = this.#visit(request);
    const found = this.#router.find(request.method ?? '', request.url ?? '');
    const route = found.outcome === 'found' ? found.route : undefined;
    const reply = this.#misformed(request) ?? this.#limited(visit, route) ?? (await this.#reply(request, visit, found));
    if (reply) this.#write(request, response, reply, visit);
    else response.destroy();
    const path = route?.path ?? (found.outcome === 'method' ? found.path : OTHER);
    const method = route ? (request.method ?? OTHER) : OTHER;
    const status = String(reply?.status ?? 499);
    const seconds = (clock.monotonic() - startedAt) / SECOND;
    metrics.httpRequest(path, method, status, seconds);
    log.debug('public request', { correlationId: visit.caller.correlationId, route: path, method, status, seconds });
  }

  #visit(request: IncomingMessage): Visit {
    const { trustProxy, instanceId } = this.#options;
    this.#requests += 1;
    const { 'x-forwarded-for': forwarded, [REQUEST_ID_HEADER]: given, 'user-agent': agent = '' } = request.headers;
    // Node joins repeated X-Forwarded-For lines, in their order.
    const forwardedFor = typeof forwarded === 'string' ? forwarded : forwarded?.join();
    // Only a proxy of ours may name a request; a browser could take the id of somebody else's.
    const usable = trustProxy > 0 && typeof given === 'string' && usableRequestId(given);
    const correlationId = usable ? given : `${instanceId}-p${this.#requests.toString(36)}`;
    return {
      caller: { name: 'public', roles: new Set(['portal']), correlationId },
      client: {
        ipAddress: clientAddress(request.socket.remoteAddress, forwardedFor, trustProxy),
        userAgent: agent.slice(0, MAX_AGENT),
        deviceId: '',
      },
    };
  }

  /** What is wrong with a request whatever it asks for. */
  #misformed(request: IncomingMessage): PublicReply | undefined {
    const target = request.url ?? '';
    // One Host, always (RFC 9112 section 3.2): Node keeps the first of several, a proxy perhaps the last.
    if ((request.headersDistinct['host'] ?? []).length !== 1) return text(400, 'One Host header is needed.');
    if (target.length > this.#limits.targetBytes) return text(414, 'The address is too long.');
    if (!target.startsWith('/')) return text(400, 'The address is not a path.');
    if (request.headers.expect !== undefined && request.headers.expect.toLowerCase() !== '100-continue')
      return text(417, 'Nothing can be expected here.');
    return undefined;
  }

  #limited({ client }: Visit, route: Route | undefined): PublicReply | undefined {
    const waitMs = this.#limiters[route?.kind ?? 'page'].take(addressGroup(client.ipAddress));
    if (waitMs === 0) return undefined;
    return text(429, 'Too many requests. Wait a moment.', { 'retry-after': String(Math.ceil(waitMs / SECOND)) });
  }

  /** Undefined when nobody waits for an answer any more. */
  async #reply(request: IncomingMessage, visit: Visit, found: Found): Promise<PublicReply | undefined> {
    if (found.outcome === 'nothing') return text(404, 'There is nothing here.');
    if (found.outcome === 'method') return text(405, 'That cannot be done here.', { allow: found.allow });
    const { route } = found;
    const asked = { method: request.method ?? '', target: request.url ?? '', headers: request.headers, visit };
    if (route.method === 'GET') {
      if (hasBody(request)) return text(400, 'A body has no place here.');
      return await this.#run(route, { ...asked, body: Buffer.alloc(0) });
    }
    if (route.bodyType !== undefined && !isOfType(request, route.bodyType))
      return text(415, `Send ${route.bodyType} in UTF-8.`);
    const body = await readBody(request, this.#limits.bodyBytes);
    if (body.outcome === 'broken') return undefined;
    if (body.outcome === 'too-large') return text(413, `At most ${this.#limits.bodyBytes} bytes are taken.`);
    return await this.#run(route, { ...asked, body: body.bytes });
  }

  async #run(route: Route, request: Parameters<Route['handle']>[0]): Promise<PublicReply> {
    const { clock, log } = this.#options;
    const { correlationId } = request.visit.caller;
    if (this.#working >= this.#limits.concurrent) return notNow(SECOND);
    this.#working += 1;
    let cancel = () => {};
    const late = new Promise<PublicReply>((resolve) => {
      cancel = clock.schedule(this.#limits.handlerMs, () => {
        log.warn('a public request took too long', { route: route.path, correlationId });
        resolve(text(503, 'That took too long. Try again.', { 'retry-after': '1' }));
      });
    });
    try {
      return await Promise.race([Promise.resolve(route.handle(request)), late]);
    } catch (error) {
      if (error instanceof Fault && error.kind === 'unavailable') return notNow(error.details.retryAfterMs ?? SECOND);
      // The message of an error can quote what a browser sent, so only its kind is told.
      const kind = error instanceof Error ? error.name : typeof error;
      log.error('a public route failed by a fault of ours', { route: route.path, correlationId, error: kind });
      return text(500, `That failed. Tell the operator: ${correlationId}`);
    } finally {
      cancel();
      this.#working -= 1;
    }
  }

  #write(request: IncomingMessage, response: ServerResponse, reply: PublicReply, visit: Visit): void {
    const body = reply.body ?? '';
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    // What was not read would be taken for the next request; and a browser that is refused may come back over another.
    const last = !request.complete || this.#stopped !== undefined;
    response.writeHead(reply.status, {
      ...securityHeaders({ https: this.#options.https, page: reply.page === true }),
      [REQUEST_ID_HEADER]: visit.caller.correlationId,
      ...(reply.contentType === undefined ? {} : { 'content-type': reply.contentType }),
      ...(reply.status === 204 || reply.status === 304 ? {} : { 'content-length': String(bytes.length) }),
      ...reply.headers,
      ...(last ? { connection: 'close' } : {}),
    });
    response.end(request.method === 'HEAD' ? undefined : bytes);
  }
}

function notNow(waitMs: DurationMs): PublicReply {
  const seconds = Math.max(1, Math.ceil(waitMs / SECOND));
  return text(503, 'Not right now. Try again.', { 'retry-after': String(seconds) });
}
