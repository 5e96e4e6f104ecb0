import type { AuditBufferWatch } from '#src/adapters/telemetry/audit-buffer-watch.ts';
import type { EventLoopLag } from '#src/adapters/telemetry/event-loop-lag.ts';
import type { PrometheusMetrics } from '#src/adapters/telemetry/prometheus-metrics.ts';
import type { Config } from '#src/config/schema.ts';
import type { Policy } from '#src/domain/policy.ts';
import { type DurationMs, type EpochMs, MINUTE, SECOND } from '#src/domain/time.ts';
import { Health } from '#src/gen/health/v1/health_pb.js';
import { AdminService } from '#src/gen/sallyport/v1/admin_pb.js';
import { AuditService } from '#src/gen/sallyport/v1/audit_pb.js';
import { ChallengeService } from '#src/gen/sallyport/v1/challenge_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { PrivacyService } from '#src/gen/sallyport/v1/privacy_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import type { AuditLog } from '#src/ports/audit.ts';
import type { Clock } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { Outages } from '#src/services/outages.ts';
import type { Trail } from '#src/services/trail.ts';
import { AdminServer, type Verdict } from '#src/transport/admin/admin-server.ts';
import { mount } from '#src/transport/call.ts';
import { ConnectServer } from '#src/transport/connect/connect-server.ts';
import { buildEndpoints } from '#src/transport/endpoint.ts';
import { GrpcServer } from '#src/transport/grpc/grpc-server.ts';
import { adminHandlers } from '#src/transport/handlers/admin.ts';
import { auditHandlers } from '#src/transport/handlers/audit.ts';
import { challengeHandlers } from '#src/transport/handlers/challenges.ts';
import { deviceHandlers } from '#src/transport/handlers/devices.ts';
import { factorHandlers } from '#src/transport/handlers/factors.ts';
import { privacyHandlers } from '#src/transport/handlers/privacy.ts';
import { sessionHandlers } from '#src/transport/handlers/sessions.ts';
import { HealthService } from '#src/transport/health/health.ts';
import { Listener, tokenCheck } from '#src/transport/identity.ts';
import type { BoundAddress, ListenAddress } from '#src/transport/listen.ts';
import { API_SERVICES } from '#src/transport/methods.ts';
import { Pipeline } from '#src/transport/pipeline.ts';
import { QrRenderer } from '#src/transport/qr.ts';
import { reflection } from '#src/transport/reflection/reflection.ts';
import { VERSION } from '#src/version.ts';
import { composePublic } from './public-listener.ts';
import type { Services } from './services.ts';

/** A loop that is this late cannot answer in time; the kubelet may restart the pod. */
const LATE_LOOP: DurationMs = 5 * SECOND;
/** How far health over gRPC may be behind readiness. */
const HEALTH_EVERY: DurationMs = SECOND;

export interface TransportDependencies {
  readonly config: Config;
  readonly policy: Policy;
  readonly services: Services;
  readonly audit: AuditLog;
  readonly buffer: AuditBufferWatch;
  readonly outages: Outages;
  readonly trail: Trail;
  readonly operatorToken: string;
  readonly clock: Clock;
  readonly metrics: PrometheusMetrics;
  readonly log: Log;
  readonly lag: EventLoopLag;
  readonly instanceId: string;
  readonly startedAt: EpochMs;
  /** Set once the local store is gone. */
  readonly fatal: () => Error | undefined;
}

/** All listeners, over one handler set. */
export interface Transport extends AsyncDisposable {
  readonly addresses: Readonly<Record<string, string | undefined>>;
  /** Binds everything, then turns ready. */
  listen(): Promise<void>;
  /** Readiness off, `delayMs` for others to notice, then up to `graceMs` for what is in flight. */
  drain(delayMs: DurationMs, graceMs: DurationMs): Promise<void>;
  /** Cuts a drain short. */
  hurry(): void;
}

export function composeTransport(deps: TransportDependencies): Transport {
  const { config, services, outages, metrics, log, clock } = deps;
  const realms = { names: new Set(config.realms), defaultRealm: config.realms[0] ?? 'default' };
  const health = new HealthService();
  const qr = new QrRenderer({ clock });
  const endpoints = buildEndpoints(
    [
      mount(SessionService, sessionHandlers({ sessions: services.sessions, realms })),
      mount(ChallengeService, challengeHandlers({ ...services.engine, realms })),
      mount(FactorService, {
        ...factorHandlers({ factors: services.factors, qr, realms, log }),
        ...deviceHandlers({ devices: services.devices, realms }),
      }),
      mount(AuditService, auditHandlers({ reader: services.auditReader, realms })),
      mount(PrivacyService, privacyHandlers({ privacy: services.privacy, realms })),
      mount(AdminService, adminHandlers({ operations: services.operations, outages, realms, info: about(deps) })),
      health.mounted,
      ...(config.reflection ? reflection([...API_SERVICES, Health]) : []),
    ],
    metrics,
  );
  const pipeline = new Pipeline({
    trail: deps.trail,
    realms,
    outages,
    metrics,
    log,
    clock,
    instanceId: deps.instanceId,
    logCalls: config.log.level === 'debug',
    limits: {
      maxOpenStreams: config.limits.max_streams,
      firstMessageMs: 10 * SECOND,
      readerStallMs: 30 * SECOND,
      shutdownGraceMs: SECOND,
    },
  });
  const operatorToken = tokenCheck(deps.operatorToken);
  const { grpc, http, admin } = config.listeners;
  const shared = { endpoints, pipeline, metrics, log, clock, maxMessageBytes: config.limits.message_bytes };
  const grpcServer = new GrpcServer({
    ...shared,
    addresses: [
      ...tcp(grpc.address),
      ...(grpc.socket === '' ? [] : [{ kind: 'unix' as const, path: grpc.socket, mode: grpc.socket_mode }]),
    ],
    listener: new Listener({ name: 'grpc', roles: new Set(grpc.roles), operatorToken }),
    maxConcurrentStreams: 1_000,
    maxConnections: config.limits.max_connections,
    keepaliveMs: 2 * MINUTE,
    keepaliveTimeoutMs: 20 * SECOND,
  });
  const httpServer = new ConnectServer({
    ...shared,
    addresses: tcp(http.address),
    listener: new Listener({ name: 'http', roles: new Set(http.roles), operatorToken }),
    maxConnections: config.limits.max_connections,
    jwks: () => services.receipts.jwks(),
  });
  const publicServer = composePublic({ ...deps, addresses: tcp(config.listeners.public.address) });

  let listening = false;
  let draining = false;
  const adminServer = new AdminServer({
    addresses: tcp(admin.address),
    log,
    live: () => alive(deps),
    ready: () => readiness(deps, listening, draining),
    started: () => ({ ok: listening, lines: listening ? [] : ['starting'] }),
    metrics: async () => {
      await deps.buffer.read();
      return metrics.render();
    },
  });
  let unfollow = () => {};
  let following = true;
  /** Probes over HTTP ask anew each time; health over gRPC has to be told. */
  const follow = async () => {
    const { ok } = await readiness(deps, listening, draining);
    if (!following) return;
    health.setReady(ok && !draining);
    unfollow = clock.schedule(HEALTH_EVERY, () => void follow());
  };
  const stopFollowing = () => {
    following = false;
    unfollow();
  };
  let cutDelay = () => {};
  const servers = [grpcServer, httpServer, publicServer];
  return {
    get addresses() {
      return {
        grpc: shown(grpcServer.addresses, 'tcp'),
        socket: shown(grpcServer.addresses, 'unix'),
        http: shown(httpServer.addresses, 'tcp'),
        public: shown(publicServer.addresses, 'tcp'),
        admin: shown(adminServer.addresses, 'tcp'),
      };
    },
    async listen() {
      await adminServer.listen();
      await Promise.all(servers.map((server) => server.listen()));
      listening = true;
      await follow();
    },
    async drain(delayMs, graceMs) {
      draining = true;
      stopFollowing();
      health.setReady(false);
      if (delayMs > 0 && graceMs > 0) {
        await new Promise<void>((resolve) => {
          const cancel = clock.schedule(delayMs, resolve);
          cutDelay = () => {
            cancel();
            resolve();
          };
        });
      }
      health.stop();
      await Promise.all(servers.map((server) => server.drain(graceMs)));
    },
    hurry() {
      cutDelay();
      for (const server of servers)
        server.drain(0).catch((error: unknown) => log.warn('cutting a drain failed', { error: String(error) }));
    },
    async [Symbol.asyncDispose]() {
      stopFollowing();
      await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
      await adminServer[Symbol.asyncDispose]();
      await qr.close();
    },
  };
}

function about({ policy, audit, services, startedAt }: TransportDependencies) {
  return {
    version: VERSION,
    startedAt,
    mfaEnabled: policy.mfaEnabled,
    methods: policy.methods.filter((method) => services.methods.has(method)),
    chainId: async () => (await audit.status()).chainId,
  };
}

/** Depends on nothing outside the process. */
function alive({ lag, fatal }: TransportDependencies): Verdict {
  const error = fatal();
  if (error) return { ok: false, lines: ['the local store is gone'] };
  const late = lag.current();
  return late < LATE_LOOP
    ? { ok: true, lines: [] }
    : { ok: false, lines: [`event loop is ${Math.round(late)} ms late`] };
}

/** The lines say what is in the way, or what is missing all the same. */
async function readiness(
  { buffer, fatal, outages }: TransportDependencies,
  listening: boolean,
  draining: boolean,
): Promise<Verdict> {
  const lines: string[] = [];
  if (!listening) lines.push('starting');
  if (draining) lines.push('stopping');
  if (fatal()) lines.push('the local store is gone');
  else {
    const status = await buffer.read();
    if (!status) lines.push('the audit buffer does not answer');
    else if (!status.writable) lines.push('the audit buffer takes no events, so nothing is granted');
  }
  const { ready, lines: missing } = outages.readiness();
  return { ok: ready && lines.length === 0, lines: [...lines, ...missing] };
}

function tcp(address: { readonly host: string; readonly port: number } | undefined): readonly ListenAddress[] {
  return address ? [{ kind: 'tcp', host: address.host, port: address.port }] : [];
}

function shown(addresses: readonly BoundAddress[], kind: BoundAddress['kind']): string | undefined {
  const bound = addresses.find((address) => address.kind === kind);
  if (!bound) return undefined;
  if (bound.kind === 'unix') return bound.path;
  return `${bound.host.includes(':') ? `[${bound.host}]` : bound.host}:${bound.port}`;
}
