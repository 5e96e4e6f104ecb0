import { NO_LOCATOR } from '#src/adapters/geo/no-locator.ts';
import { joseReceiptTokens } from '#src/adapters/jose/receipt-tokens.ts';
import { MemorySignals } from '#src/adapters/memory/signals.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { SqlChallengeStore } from '#src/adapters/sql/challenge-store.ts';
import type { SqlExecutor } from '#src/adapters/sql/executor.ts';
import { SqlSessionStore } from '#src/adapters/sql/session-store.ts';
import { plainStores } from '#src/adapters/sql/stores.ts';
import { composeServices, type ServiceDependencies } from '#src/compose/services.ts';
import { policyFrom } from '#src/config/policy.ts';
import type { Config } from '#src/config/schema.ts';
import { Fault } from '#src/domain/faults.ts';
import type { OutageLimits } from '#src/domain/outage.ts';
import { MINUTE, SECOND } from '#src/domain/time.ts';
import { AdminService } from '#src/gen/sallyport/v1/admin_pb.js';
import { AuditService } from '#src/gen/sallyport/v1/audit_pb.js';
import { ChallengeService } from '#src/gen/sallyport/v1/challenge_pb.js';
import { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import { PrivacyService } from '#src/gen/sallyport/v1/privacy_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import type { AuditLog } from '#src/ports/audit.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import { Trail } from '#src/services/trail.ts';
import { mount } from '#src/transport/call.ts';
import { buildEndpoints } from '#src/transport/endpoint.ts';
import { adminHandlers } from '#src/transport/handlers/admin.ts';
import { auditHandlers } from '#src/transport/handlers/audit.ts';
import { challengeHandlers } from '#src/transport/handlers/challenges.ts';
import { deviceHandlers } from '#src/transport/handlers/devices.ts';
import { factorHandlers } from '#src/transport/handlers/factors.ts';
import { privacyHandlers } from '#src/transport/handlers/privacy.ts';
import { sessionHandlers } from '#src/transport/handlers/sessions.ts';
import { HandlerCalls } from './api-calls.ts';
import { ManualClock } from './clock.ts';
import { CountingRpcMetrics } from './counting-rpc-metrics.ts';
import { CountingHash } from './factor-world.ts';
import { type FakeDependencies, outageWorld } from './fake-dependencies.ts';
import { MemorySql } from './memory-sql.ts';
import { SeededRandom } from './random.ts';
import { CountingMetrics, RecordingLog } from './recording-telemetry.ts';

/**
 * The whole API in this process on a fake shared state: the real stores on a database that refuses while PostgreSQL is
 * away, as the breaker does, with copies in front that a Redis would hold, and pending ends.
 */
export function fakeSharedState(config: Config, file: AuditLog, limits: OutageLimits) {
  const clock = new ManualClock();
  const metrics = new CountingMetrics();
  const log = new RecordingLog();
  const random = new SeededRandom('shared state');
  const ring = createKeyRing(random);
  const box = new AesGcmSecretBox({ ring, random });
  const trail = new Trail({ audit: file, clock, random, metrics, log, foldMs: MINUTE, maxFolding: 100 });
  const { dependencies, outages, record } = outageWorld({ trail, clock, metrics, log }, undefined, limits);
  const memory = new MemorySql([]);
  const database = new RefusingSql(memory, dependencies);
  const policy = policyFrom(config);
  const audit = centralReads(file, dependencies);
  const deps: ServiceDependencies = {
    config,
    policy,
    stores: {
      ...plainStores(database, { table: 'subjects' }),
      sessions: frontedSessions(new SqlSessionStore(database, box), new SqlSessionStore(memory, box), dependencies),
      challenges: frontedChallenges(new SqlChallengeStore(database), new SqlChallengeStore(memory), dependencies),
    },
    audit,
    onDurable: (listener) => file.onAppend(listener),
    outages,
    trail,
    signals: new MemorySignals({ log }),
    box,
    digest: new HmacKeyedDigest({ ring }),
    slowHash: new CountingHash(),
    tokens: joseReceiptTokens,
    locator: NO_LOCATOR,
    agents: { parse: async () => ({ browser: '', operatingSystem: '' }) },
    clock,
    random,
    metrics,
    log,
  };
  const services = composeServices(deps);
  const realms = { names: new Set(config.realms), defaultRealm: config.realms[0] ?? '' };
  const info = { version: '1', startedAt: clock.now(), mfaEnabled: true, methods: [], chainId: async () => 'chn_1' };
  const { operations, sessions, engine, factors, devices, privacy, auditReader } = services;
  const endpoints = buildEndpoints(
    [
      mount(SessionService, sessionHandlers({ sessions, realms })),
      mount(ChallengeService, challengeHandlers({ ...engine, realms })),
      mount(FactorService, {
        ...factorHandlers({ factors, qr: { render: async () => ({}) }, realms, log }),
        ...deviceHandlers({ devices, realms }),
      }),
      mount(AuditService, auditHandlers({ reader: auditReader, realms })),
      mount(PrivacyService, privacyHandlers({ privacy, realms })),
      mount(AdminService, adminHandlers({ operations, outages, realms, info })),
    ],
    new CountingRpcMetrics(),
  );
  return { clock, log, dependencies, outages, record, services, api: new HandlerCalls(endpoints) };
}

function refusal(): Fault {
  return new Fault('unavailable', 'STORE_UNAVAILABLE', 'postgres is away; try again in a moment', {
    retryAfterMs: SECOND,
    metadata: { dependency: 'postgres' },
  });
}

const isUp = (dependencies: FakeDependencies, name: 'redis' | 'postgres') => dependencies.state(name)?.up !== false;

/** A database that serves nobody while PostgreSQL is away. */
class RefusingSql implements SqlExecutor {
  readonly #sql: SqlExecutor;
  readonly #dependencies: FakeDependencies;

  constructor(sql: SqlExecutor, dependencies: FakeDependencies) {
    this.#sql = sql;
    this.#dependencies = dependencies;
  }

  unit: SqlExecutor['unit'] = async (work) => {
    if (!isUp(this.#dependencies, 'postgres')) throw refusal();
    return this.#sql.unit(work);
  };

  read: SqlExecutor['read'] = async (...query) => {
    if (!isUp(this.#dependencies, 'postgres')) throw refusal();
    return this.#sql.read(...query);
  };
}

/** Reads by token go on with the copies of Redis; ends take effect there and are refused until they are durable. */
function frontedSessions(database: SessionStore, copies: SessionStore, dependencies: FakeDependencies): SessionStore {
  const pending = new Set<string>();
  const onCopies = () => !isUp(dependencies, 'postgres') && isUp(dependencies, 'redis');
  return inFrontOf(database, {
    async findByTokenDigest(realm, digest) {
      if (!onCopies()) return database.findByTokenDigest(realm, digest);
      const session = await copies.findByTokenDigest(realm, digest);
      if (!session) throw refusal();
      return pending.has(session.id) ? { ...session, endReason: 'REVOKED' } : session;
    },
    async end(command) {
      if (!onCopies()) return database.end(command);
      const { realm, target, now } = command;
      if (target.kind === 'ids') for (const id of target.sessionIds) pending.add(id);
      else {
        const page = { realm, subject: target.subject, includeEnded: false, limit: 100, now };
        for (const { id } of await copies.list(page)) if (id !== target.exceptSessionId) pending.add(id);
      }
      throw refusal();
    },
  });
}

function frontedChallenges(database: ChallengeStore, copies: ChallengeStore, dependencies: FakeDependencies) {
  const onCopies = () => !isUp(dependencies, 'postgres') && isUp(dependencies, 'redis');
  return inFrontOf(database, { read: (realm, id) => (onCopies() ? copies : database).read(realm, id) });
}

/** The same store with some of its intents in other hands. */
function inFrontOf<S extends object>(store: S, over: Partial<S>): S {
  return new Proxy(store, {
    get(_store, name) {
      const own: unknown = Reflect.get(over, name);
      if (own !== undefined) return own;
      const value: unknown = Reflect.get(store, name);
      return typeof value === 'function' ? value.bind(store) : value;
    },
  });
}

/** Where many sidecars share a state, the trail is read centrally; it is written, and watched, here. */
function centralReads(file: AuditLog, dependencies: FakeDependencies): AuditLog {
  const central =
    <A extends readonly unknown[], R>(read: (...query: A) => Promise<R>) =>
    async (...query: A): Promise<R> => {
      if (!isUp(dependencies, 'postgres')) throw refusal();
      return read(...query);
    };
  return {
    append: (events) => file.append(events),
    onAppend: (listener) => file.onAppend(listener),
    status: () => file.status(),
    query: central((...query: Parameters<AuditLog['query']>) => file.query(...query)),
    after: central((...query: Parameters<AuditLog['after']>) => file.after(...query)),
    head: central(() => file.head()),
    verify: central((chainId: string) => file.verify(chainId)),
    exportPage: central((...query: Parameters<AuditLog['exportPage']>) => file.exportPage(...query)),
  };
}
