import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { BowserAgentParser } from './adapters/agent/bowser-parser.ts';
import { NO_LOCATOR } from './adapters/geo/no-locator.ts';
import { HmacKeyedDigest } from './adapters/secrets/keyed-digest.ts';
import { AesGcmSecretBox } from './adapters/secrets/secret-box.ts';
import { ScryptSlowHash } from './adapters/secrets/slow-hash.ts';
import { systemClock, systemRandom } from './adapters/system.ts';
import { AuditBufferWatch } from './adapters/telemetry/audit-buffer-watch.ts';
import { dependencyGauges } from './adapters/telemetry/dependency-gauges.ts';
import { EventLoopLag } from './adapters/telemetry/event-loop-lag.ts';
import { JsonLog } from './adapters/telemetry/json-log.ts';
import { PrometheusMetrics } from './adapters/telemetry/prometheus-metrics.ts';
import { loadKeys } from './compose/keys.ts';
import type { Storage, StorageDependencies } from './compose/storage.ts';
import { policyFrom } from './config/policy.ts';
import type { Config } from './config/schema.ts';
import type { EventType } from './domain/audit-event.ts';
import { ERASURE_MARK, markOf } from './domain/erasure.ts';
import { Fault } from './domain/faults.ts';
import { newId } from './domain/ids.ts';
import type { Policy } from './domain/policy.ts';
import { SECOND } from './domain/time.ts';
import type { Clock } from './ports/runtime.ts';
import { OutageRecord } from './services/outage-record.ts';
import { Outages } from './services/outages.ts';
import { Trail } from './services/trail.ts';
import { VERSION } from './version.ts';

/** What tests may put in place of the real thing. */
export interface Overrides {
  readonly clock?: Clock;
}

/** A running sidecar. */
export interface Sidecar extends AsyncDisposable {
  /** Where it listens, by listener. */
  readonly addresses: Readonly<Record<string, string | undefined>>;
  /** What a person has to know of this start: what was made, what is loose. */
  readonly notices: readonly string[];
  /** Readiness off, wait, stop accepting, end streams, finish calls, drain the trail, close. A second call with less time is faster. */
  stop(graceMs: number): Promise<void>;
}

/**
 * Builds the sidecar from its settings, in the order in which things need one another. What was opened is on the stack, so
 * a failed start releases it, and a stop closes it in reverse.
 */
export async function compose(config: Config, overrides: Overrides = {}): Promise<Sidecar> {
  await using stack = new AsyncDisposableStack();
  const random = systemRandom;
  const clock = overrides.clock ?? systemClock;
  const startedAt = clock.now();
  const instanceId = newId('event', random.bytes(16)).slice(4, 12);
  const log = new JsonLog({ level: config.log.level });
  const lag = stack.use(new EventLoopLag());

  await makeDataDirectory(config.data_dir);
  const keys = await loadKeys(config, random);
  const box = new AesGcmSecretBox({ ring: keys.ring, random });
  const locator =
    config.geo.file === ''
      ? NO_LOCATOR
      : await (await import('./adapters/geo/mmdb-locator.ts')).openLocator(config.geo.file);

  const digest = new HmacKeyedDigest({ ring: keys.ring });
  let fatal: Error | undefined;
  const onFatal = (error: Error) => {
    fatal = error;
    log.error('the local store is gone; the sidecar has to be restarted', { error: error.message });
  };
  /** What the storage tells of by itself, once there is somebody to tell. */
  let live: { readonly metrics: PrometheusMetrics; readonly trail: Trail } | undefined;
  // The thread of the storage starts while this one loads the rest.
  const [storage, { composeServices }, { composeTransport }, { joseReceiptTokens }] = await Promise.all([
    openStorage({
      config,
      ring: keys.ring,
      box,
      digest,
      clock,
      random,
      log,
      onFatal,
      metrics: () => live?.metrics,
      erased: (marks) =>
        live?.trail.forget((realm, subject) =>
          marks.has(Buffer.from(digest.digest(ERASURE_MARK, markOf(realm, subject))).toString('base64url')),
        ),
      note: (type, outcome, facts) =>
        live?.trail.refused(live.trail.draft(type, undefined, { realm: '', outcome, facts })),
    }).then((opened) => stack.use(opened)),
    import('./compose/services.ts'),
    import('./compose/transport.ts'),
    import('./adapters/jose/receipt-tokens.ts'),
  ]);

  const buffer = new AuditBufferWatch(storage.audit, log);
  const metrics = new PrometheusMetrics({
    version: VERSION,
    eventLoopLag: () => lag.worst() / 1000,
    gauges: [...buffer.gauges, ...storage.gauges, ...dependencyGauges(storage.dependencies, clock)],
  });
  storage.onDurable((written) => {
    for (const { type, outcome, count } of written) metrics.events(type, outcome, count);
  });
  const { fold_window: foldMs, max_folding: maxFolding } = config.audit;
  const trail = new Trail({ audit: storage.audit, clock, random, metrics, log, foldMs, maxFolding });
  stack.defer(() => trail.drain());
  live = { metrics, trail };
  const record = new OutageRecord({ trail, clock, metrics, log });
  stack.defer(() => record.stop());
  const outages = stack.use(
    new Outages({
      dependencies: storage.dependencies,
      limits: config.outage,
      retryAfterMs: Math.max(config.outage.probe, SECOND),
      record,
      clock,
    }),
  );
  const policy = policyFrom(config);
  const services = composeServices({
    config,
    policy,
    stores: storage.stores,
    audit: storage.audit,
    onDurable: storage.onDurable,
    outages,
    trail,
    signals: storage.signals,
    box,
    digest,
    slowHash: new ScryptSlowHash(),
    tokens: joseReceiptTokens,
    locator,
    agents: new BowserAgentParser(),
    clock,
    random,
    metrics,
    log,
  });
  const transport = stack.use(
    composeTransport({
      config,
      policy,
      services,
      audit: storage.audit,
      buffer,
      outages,
      trail,
      operatorToken: keys.operatorToken,
      clock,
      metrics,
      log,
      lag,
      instanceId,
      startedAt,
      fatal: () => fatal,
    }),
  );

  const note = (type: EventType, facts: Readonly<Record<string, string>> = {}) =>
    trail.append(trail.draft(type, undefined, { realm: '', outcome: 'INFO', facts: { version: VERSION, ...facts } }));
  await Promise.all([note('sidecar.started'), note('policy.loaded', policyFacts(policy))]);
  services.start();
  stack.defer(() => services.stop());
  await transport.listen();
  const opened = stack.move();

  let stopping: Promise<void> | undefined;
  const close = async (graceMs: number) => {
    await transport.drain(config.shutdown.delay, graceMs);
    await note('sidecar.stopped').catch((error: unknown) =>
      log.warn('the stop could not be recorded', { error: String(error) }),
    );
    await opened.disposeAsync();
  };
  const stop = (graceMs: number) => {
    if (stopping) transport.hurry();
    stopping ??= close(graceMs);
    return stopping;
  };
  return {
    addresses: transport.addresses,
    notices: keys.notices,
    stop,
    [Symbol.asyncDispose]: () => stop(0),
  };
}

/** Shared as soon as the settings name a PostgreSQL; its drivers load only then. */
async function openStorage(deps: StorageDependencies): Promise<Storage> {
  if (deps.config.postgres.url === undefined) {
    return (await import('./compose/embedded-storage.ts')).openEmbeddedStorage(deps);
  }
  return (await import('./compose/shared-storage.ts')).openSharedStorage(deps);
}

async function makeDataDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Fault('unavailable', 'STORE_UNAVAILABLE', `the data directory ${path} cannot be made: ${why}`, {
      cause: error,
    });
  }
}

/** Tells one policy from another in the trail, without its wording. */
function policyFacts(policy: Policy): Readonly<Record<string, string>> {
  return {
    digest: createHash('sha256').update(JSON.stringify(policy)).digest('base64url'),
    rules: String(policy.rules.length),
    profile: policy.profile,
    mfa_enabled: String(policy.mfaEnabled),
  };
}
