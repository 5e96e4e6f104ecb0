import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { toBinary, toJson } from '@bufbuild/protobuf';
import { Fault } from '../../domain/faults.ts';
import { type DurationMs, SECOND } from '../../domain/time.ts';
import type { Clock } from '../../ports/runtime.ts';
import type { Log, RpcMetrics } from '../../ports/telemetry.ts';
import { CallDurations, type Endpoint, OTHER_METHOD, unknownProcedure } from '../endpoint.ts';
import { codeOf, toWireError } from '../errors.ts';
import { CLIENT_HEADER, type Listener, REQUEST_ID_HEADER } from '../identity.ts';
import { type BoundAddress, type ListenAddress, listenOnEach } from '../listen.ts';
import type { LiveCall } from '../live-call.ts';
import type { Pipeline } from '../pipeline.ts';
import { parseConnectTimeout, parseGrpcTimeout } from '../timeout.ts';
import type { Answer, Exchange } from './protocols.ts';
import { type BodyForm, bodyForm, readMessage } from './request-body.ts';

export interface ConnectServerOptions {
  readonly addresses: readonly ListenAddress[];
  readonly listener: Listener;
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  readonly pipeline: Pipeline;
  readonly metrics: RpcMetrics;
  readonly log: Log;
  readonly clock: Clock;
  readonly maxMessageBytes: number;
  readonly maxConnections: number;
  /** The public keys of receipts as a JWK Set (RFC 7517), for `GET /.well-known/jwks.json`. */
  readonly jwks?: () => Promise<unknown>;
}

const JWKS_PATH = '/.well-known/jwks.json';
/** After the final status, until a reader that does not read is cut. */
const LINGER_MS = SECOND;

/** Connect and gRPC-Web on HTTP/1.1: unary calls and server streams. No CORS header is ever sent. */
export class ConnectServer implements AsyncDisposable {
  readonly #options: ConnectServerOptions;
  readonly #servers: Server[] = [];
  readonly #others: CallDurations;
  #addresses: readonly BoundAddress[] = [];
  #answer: Promise<Answer> | undefined;
  #stopped: Promise<void> | undefined;
  /** False once something had to be cut. */
  #clean = true;

  constructor(options: ConnectServerOptions) {
    this.#options = options;
    this.#others = new CallDurations(OTHER_METHOD, options.metrics);
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

  /** Stops accepting, tells streams to end, lets calls finish, and cuts what is left after `graceMs`. True if nothing was cut. */
  async drain(graceMs: DurationMs): Promise<boolean> {
    const { pipeline, clock } = this.#options;
    const cancel = clock.schedule(graceMs, () => {
      this.#clean = false;
      for (const server of this.#servers) server.closeAllConnections();
    });
    pipeline.drain();
    this.#stopped ??= this.#stop();
    await this.#stopped;
    cancel();
    return this.#clean;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain(0);
  }

  #server(): Server {
    const server = createServer(
      {
        headersTimeout: 10 * SECOND,
        requestTimeout: 30 * SECOND,
        // Longer than the usual pool of a client keeps a connection idle, so that the client closes first.
        keepAliveTimeout: 75 * SECOND,
        maxHeaderSize: 16 * 1024,
        connectionsCheckingInterval: 5 * SECOND,
        noDelay: true,
      },
      (request, response) => {
        this.#handle(request, response).catch((error: unknown) => {
          this.#options.log.debug('an HTTP exchange broke off', { error: String(error) });
          response.destroy();
        });
      },
    );
    server.maxConnections = this.#options.maxConnections;
    server.on('clientError', (_error, socket) => socket.destroy());
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

  /** Connections whose last answer began before the stop are kept alive by their clients. */
  #closeIdle(): void {
    for (const server of this.#servers) server.closeIdleConnections();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A request that breaks off has its say in the call, not here.
    request.on('error', () => {});
    response.on('error', () => {});
    response.setHeader('cache-control', 'no-store');
    response.setHeader('x-content-type-options', 'nosniff');
    if (this.#stopped) response.setHeader('connection', 'close');
    response.once('close', () => {
      if (this.#stopped) setImmediate(() => this.#closeIdle());
    });
    const [path = ''] = (request.url ?? '').split('?', 1);
    if (path === JWKS_PATH) return await this.#jwks(request, response);
    const endpoint = this.#options.endpoints.get(path);
    const form = bodyForm(request.headers['content-type']);
    const refused = this.#refuse(request, response, endpoint, form);
    if (refused || !endpoint || !form) return;
    await this.#serve(request, response, endpoint, form);
  }

  /** Answers what no protocol can answer. */
  #refuse(
    request: IncomingMessage,
    response: ServerResponse,
    endpoint: Endpoint | undefined,
    form: BodyForm | undefined,
  ): boolean {
    if (!endpoint) {
      this.#others.observe('connect', codeOf(unknownProcedure()), 0);
      unimplemented(response, 404, unknownProcedure());
      return true;
    }
    if (request.method !== 'POST') {
      response.setHeader('allow', 'POST');
      text(response, 405, 'Calls are POST requests.');
      return true;
    }
    if (endpoint.kind === 'bidi_streaming') {
      response.setHeader('connection', 'close');
      unimplemented(
        response,
        505,
        new Fault(
          'unimplemented',
          'NOT_IMPLEMENTED',
          'bidirectional streams need native gRPC: use the gRPC listener, or unary calls with WatchChallenge',
        ),
      );
      return true;
    }
    if (!form || (form.protocol === 'connect' && form.enveloped === (endpoint.kind === 'unary'))) {
      const kind = endpoint.kind === 'unary' ? '' : 'connect+';
      response.setHeader(
        'accept-post',
        `application/${kind}json, application/${kind}proto, application/grpc-web+proto`,
      );
      text(
        response,
        415,
        `Send the call as application/${kind}json, application/${kind}proto or application/grpc-web+proto.`,
      );
      return true;
    }
    return false;
  }

  async #serve(request: IncomingMessage, response: ServerResponse, endpoint: Endpoint, form: BodyForm): Promise<void> {
    const { pipeline, listener, clock } = this.#options;
    const call = pipeline.open(endpoint, form.protocol, listener);
    response.once('close', () => {
      call.end('cancelled');
      if (!call.settled) pipeline.settle(call, new Fault('cancelled', 'CANCELLED', 'the caller went away'));
    });
    const exchange = await this.#receive(request, call, form);
    if ('fault' in exchange && !request.complete) response.setHeader('connection', 'close');
    response.setHeader(REQUEST_ID_HEADER, call.caller.correlationId);
    const answer = await this.#protocols();
    const cutWhenStuck = () => clock.schedule(LINGER_MS, () => response.destroy());
    call.onSettled = (fault) => {
      if (fault && endpoint.kind !== 'unary' && response.headersSent && response.writableNeedDrain) cutWhenStuck();
    };
    await answer(request, response, exchange);
  }

  async #receive(request: IncomingMessage, call: LiveCall, form: BodyForm): Promise<Exchange> {
    const { pipeline, listener, maxMessageBytes } = this.#options;
    try {
      const { headers } = request;
      const timeout =
        form.protocol === 'connect'
          ? parseConnectTimeout(single(headers['connect-timeout-ms']))
          : parseGrpcTimeout(single(headers['grpc-timeout']));
      const authorization = request.headersDistinct['authorization'] ?? [];
      const requestId = single(headers[REQUEST_ID_HEADER]);
      pipeline.admit(call, listener, single(headers[CLIENT_HEADER]), authorization, timeout, requestId);
      const bytes = await readMessage(request, form, maxMessageBytes, call);
      return { call, form, request: pipeline.receive(call, bytes, form.json) };
    } catch (thrown) {
      call.received = true;
      return { call, form, fault: pipeline.toFault(call, thrown) };
    }
  }

  /** Loaded with the first call: many sidecars never serve one here, and the packages cost memory and start-up time. */
  #protocols(): Promise<Answer> {
    this.#answer ??= import('./protocols.ts').then(({ connectProtocols }) =>
      connectProtocols(this.#options.endpoints.values(), this.#options.pipeline),
    );
    return this.#answer;
  }

  async #jwks(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { jwks, log } = this.#options;
    if (!jwks) return text(response, 404, 'No keys are published here.');
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      return text(response, 405, 'The key set can only be read.');
    }
    try {
      const body = JSON.stringify(await jwks());
      response.setHeader('cache-control', 'public, max-age=300');
      response.setHeader('content-type', 'application/jwk-set+json');
      response.end(request.method === 'HEAD' ? undefined : body);
    } catch (error) {
      log.warn('the key set could not be read', { error: String(error) });
      response.setHeader('retry-after', '1');
      text(response, 503, 'The key set cannot be read right now.');
    }
  }
}

function single(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}

function text(response: ServerResponse, status: number, body: string): void {
  response.statusCode = status;
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  response.end(`${body}\n`);
}

/** The error body of the Connect protocol for UNIMPLEMENTED, for where connect-node does not get to write it. */
function unimplemented(response: ServerResponse, status: number, fault: Fault): void {
  const { message, details } = toWireError(fault);
  response.statusCode = status;
  response.setHeader('content-type', 'application/json');
  response.end(
    JSON.stringify({
      code: 'unimplemented',
      message,
      details: details.map(({ desc, value }) => ({
        type: desc.typeName,
        value: Buffer.from(toBinary(desc, value)).toString('base64').replace(/=+$/, ''),
        debug: toJson(desc, value),
      })),
    }),
  );
}
