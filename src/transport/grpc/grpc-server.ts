import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { Server, ServerCredentials, type ServerInterceptor } from '@grpc/grpc-js';
import type { DurationMs } from '../../domain/time.ts';
import type { Clock } from '../../ports/runtime.ts';
import type { Log, RpcMetrics } from '../../ports/telemetry.ts';
import { CallDurations, type Endpoint, OTHER_METHOD } from '../endpoint.ts';
import { codeOf } from '../errors.ts';
import type { Listener } from '../identity.ts';
import { type BoundAddress, type ListenAddress, listenOnEach } from '../listen.ts';
import type { Pipeline } from '../pipeline.ts';
import { GrpcBidiCall, GrpcCall, type GrpcCallHost } from './grpc-call.ts';
import { StreamGate } from './stream-gate.ts';

export interface GrpcServerOptions {
  /** TCP addresses and Unix sockets; all of them share one caller identity. */
  readonly addresses: readonly ListenAddress[];
  readonly listener: Listener;
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  readonly pipeline: Pipeline;
  readonly metrics: RpcMetrics;
  readonly log: Log;
  readonly clock: Clock;
  /** The largest request message. */
  readonly maxMessageBytes: number;
  /** Calls at once on one connection. */
  readonly maxConcurrentStreams: number;
  readonly maxConnections: number;
  /** A peer is pinged after this time, and dropped when it does not answer. */
  readonly keepaliveMs: DurationMs;
  readonly keepaliveTimeoutMs: DurationMs;
}

/** Native gRPC over HTTP/2, by grpc-js. */
export class GrpcServer implements AsyncDisposable {
  readonly #options: GrpcServerOptions;
  readonly #server: Server;
  readonly #gate: StreamGate;
  readonly #inject: (socket: Socket) => void;
  readonly #listening: NetServer[] = [];
  readonly #sockets = new Set<Socket>();
  #addresses: readonly BoundAddress[] = [];
  #stopped: Promise<void> | undefined;
  /** False once something had to be cut. */
  #clean = true;

  constructor(options: GrpcServerOptions) {
    this.#options = options;
    const { endpoints, listener } = options;
    this.#server = new Server({
      'grpc.enable_channelz': 0,
      'grpc.max_receive_message_length': options.maxMessageBytes,
      'grpc.max_send_message_length': -1,
      'grpc.max_concurrent_streams': options.maxConcurrentStreams,
      'grpc.keepalive_time_ms': options.keepaliveMs,
      'grpc.keepalive_timeout_ms': options.keepaliveTimeoutMs,
      interceptors: [this.#interceptor(options)],
    });
    for (const { procedure, kind } of endpoints.values()) this.#register(procedure, kind);
    const others = new CallDurations(OTHER_METHOD, options.metrics);
    this.#gate = new StreamGate(this.#server, {
      serves: (path) => endpoints.has(path),
      refused: (path, fault) => {
        (endpoints.get(path)?.durations ?? others).observe('grpc', codeOf(fault), 0);
      },
      failed: (error) => options.log.error('a call could not be built', { error: String(error) }),
    });
    // After the gate: the streams of this injector are handled as the server says now.
    const injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#inject = (socket) => injector.injectConnection(socket);
    if (listener.name === '') throw new Error('a listener needs a name');
  }

  /** Where it listens; empty before `listen`. */
  get addresses(): readonly BoundAddress[] {
    return this.#addresses;
  }

  /** Binds all addresses, or none. Throws ListenError. */
  async listen(): Promise<void> {
    const bound = await listenOnEach(this.#options.addresses, () => {
      const server = createServer({ noDelay: true });
      server.maxConnections = this.#options.maxConnections;
      server.on('connection', (socket) => this.#accept(socket));
      return server;
    });
    this.#addresses = bound.map(({ address }) => address);
    this.#listening.push(...bound.map(({ server }) => server));
  }

  /**
   * Stops accepting, tells streams to end, lets calls finish, and cuts what is left after `graceMs`. True if nothing had to
   * be cut. A second call with a shorter grace is faster.
   */
  async drain(graceMs: DurationMs): Promise<boolean> {
    const { pipeline, clock } = this.#options;
    const cancel = clock.schedule(graceMs, () => {
      this.#clean &&= this.#sockets.size === 0;
      this.#cut();
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

  #interceptor({ endpoints, pipeline, listener, clock, maxMessageBytes }: GrpcServerOptions): ServerInterceptor {
    const host: GrpcCallHost = { pipeline, listener, clock, maxMessageBytes };
    return ({ path }, below) => {
      const endpoint = endpoints.get(path);
      // The gate lets nothing else through.
      if (!endpoint) throw new Error('a call without an endpoint');
      const { arrival } = this.#gate;
      return endpoint.kind === 'bidi_streaming'
        ? new GrpcBidiCall(below, arrival, endpoint, host)
        : new GrpcCall(below, arrival, endpoint, host);
    };
  }

  /** grpc-js needs a handler of the right kind, but calls are taken over before it is used. */
  #register(procedure: string, kind: Endpoint['kind']): void {
    const taken = () => {};
    const bytes = (value: Buffer) => value;
    const type = kind === 'bidi_streaming' ? 'bidi' : kind === 'server_streaming' ? 'serverStream' : 'unary';
    this.#server.register(procedure, taken, bytes, bytes, type);
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    this.#inject(socket);
  }

  async #stop(): Promise<void> {
    const closed = this.#listening.map((server) => new Promise((resolve) => server.close(resolve)));
    const shutDown = new Promise((resolve) => this.#server.tryShutdown(resolve));
    await Promise.all([...closed, shutDown]);
  }

  #cut(): void {
    this.#server.forceShutdown();
    for (const socket of this.#sockets) socket.destroy();
  }
}
