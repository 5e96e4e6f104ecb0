import { create } from '@bufbuild/protobuf';
import { systemClock } from '#src/adapters/system.ts';
import type { EventDraft, EventType } from '#src/domain/audit-event.ts';
import type { Caller, Role } from '#src/domain/caller.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { OutageGate } from '#src/services/contracts.ts';
import type { EventFields } from '#src/services/trail.ts';
import type { Mounted } from '#src/transport/call.ts';
import { ConnectServer, type ConnectServerOptions } from '#src/transport/connect/connect-server.ts';
import { buildEndpoints, type Endpoint } from '#src/transport/endpoint.ts';
import { GrpcServer, type GrpcServerOptions } from '#src/transport/grpc/grpc-server.ts';
import { Listener, tokenCheck } from '#src/transport/identity.ts';
import { API_SERVICES, methodTable } from '#src/transport/methods.ts';
import { Pipeline, type PipelineLimits } from '#src/transport/pipeline.ts';
import { CountingRpcMetrics } from './counting-rpc-metrics.ts';
import { ALL_UP } from './fake-dependencies.ts';
import { RecordingLog } from './recording-telemetry.ts';

export const OPERATOR_TOKEN = 'op-0123456789abcdef';

/** Keeps the refusals that the transports write to the trail. */
export class MemoryRefusals {
  readonly events: EventDraft[] = [];

  draft(type: EventType, caller: Caller | undefined, fields: EventFields): EventDraft {
    return {
      id: `evt_${this.events.length}`,
      at: 0,
      type,
      caller: caller?.name ?? 'sidecar',
      correlationId: caller?.correlationId ?? '',
      ...fields,
    };
  }

  refused(event: EventDraft): void {
    this.events.push(event);
  }
}

// biome-ignore lint/suspicious/noExplicitAny: handlers of any method, as the tests need them.
export type FakeHandlers = Readonly<Record<string, (request: any, call: any) => unknown>>;

/** Handlers for the whole API: those given by procedure (`sallyport.v1.X/Y`), and empty answers for the rest. */
export function fakeServices(handlers: FakeHandlers = {}): readonly Mounted[] {
  const later = new Set(
    [...methodTable().values()].filter((row) => row.release === 'later').map((row) => row.procedure),
  );
  return API_SERVICES.map((service) => ({
    service,
    handlers: Object.fromEntries(
      service.methods
        .filter((method) => !later.has(`/${service.typeName}/${method.name}`))
        .map((method) => {
          const given = handlers[`${service.typeName}/${method.name}`];
          const empty = () => create(method.output);
          const silent = async function* () {};
          return [method.localName, given ?? (method.methodKind === 'unary' ? empty : silent)];
        }),
    ),
  }));
}

export interface ServedOptions {
  readonly handlers?: FakeHandlers;
  readonly mounted?: readonly Mounted[];
  readonly roles?: readonly Role[];
  readonly limits?: Partial<PipelineLimits>;
  /** Undefined: nothing is away. */
  readonly outages?: Pick<OutageGate, 'degraded'>;
  readonly grpc?: Partial<GrpcServerOptions>;
  /** Of the pipeline; real time if left out. */
  readonly clock?: Clock;
}

/** Everything the transports need, with fake handlers. */
export class Served {
  readonly log = new RecordingLog();
  readonly metrics = new CountingRpcMetrics();
  readonly refusals = new MemoryRefusals();
  readonly listener: Listener;
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  readonly pipeline: Pipeline;

  constructor(options: ServedOptions = {}) {
    this.listener = new Listener({
      name: 'grpc',
      roles: new Set(options.roles ?? ['application', 'gateway']),
      operatorToken: tokenCheck(OPERATOR_TOKEN),
    });
    this.endpoints = buildEndpoints([...fakeServices(options.handlers), ...(options.mounted ?? [])], this.metrics);
    this.pipeline = new Pipeline({
      trail: this.refusals,
      realms: { names: new Set(['default', 'shop']), defaultRealm: 'default' },
      outages: options.outages ?? ALL_UP,
      metrics: this.metrics,
      log: this.log,
      clock: options.clock ?? systemClock,
      limits: {
        maxOpenStreams: 100,
        // A test that is not about them must not meet them on a machine that stands still for a moment.
        firstMessageMs: 15_000,
        readerStallMs: 15_000,
        shutdownGraceMs: 500,
        ...options.limits,
      },
      instanceId: 'test',
      logCalls: false,
    });
  }

  grpcServer(options: Partial<GrpcServerOptions> = {}): GrpcServer {
    return new GrpcServer({
      addresses: [{ kind: 'tcp', host: '127.0.0.1', port: 0 }],
      listener: this.listener,
      endpoints: this.endpoints,
      pipeline: this.pipeline,
      metrics: this.metrics,
      log: this.log,
      clock: systemClock,
      maxMessageBytes: 64 * 1024,
      maxConcurrentStreams: 1000,
      maxConnections: 1000,
      keepaliveMs: 60_000,
      keepaliveTimeoutMs: 20_000,
      ...options,
    });
  }
}

/** A Connect server on a free loopback port; `url` is what clients need. */
export async function serveConnect(options: ServedOptions & { readonly connect?: Partial<ConnectServerOptions> } = {}) {
  const served = new Served(options);
  const server = new ConnectServer({
    addresses: [{ kind: 'tcp', host: '127.0.0.1', port: 0 }],
    listener: served.listener,
    endpoints: served.endpoints,
    pipeline: served.pipeline,
    metrics: served.metrics,
    log: served.log,
    clock: systemClock,
    maxMessageBytes: 64 * 1024,
    maxConnections: 1000,
    ...options.connect,
  });
  await server.listen();
  const [bound] = server.addresses;
  if (bound?.kind !== 'tcp') throw new Error('not on TCP');
  return { served, server, url: `http://127.0.0.1:${bound.port}` };
}

/** A gRPC server on a free loopback port; `address` is what clients need. */
export async function serveGrpc(options: ServedOptions = {}) {
  const served = new Served(options);
  const server = served.grpcServer(options.grpc);
  await server.listen();
  const [bound] = server.addresses;
  const address = bound?.kind === 'tcp' ? `127.0.0.1:${bound.port}` : `unix:${bound?.path}`;
  return { served, server, address };
}
