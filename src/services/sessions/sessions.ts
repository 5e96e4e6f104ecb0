import type { RiskReactions } from '#src/domain/risk.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { Locator, UserAgentParser } from '#src/ports/devices.ts';
import type { Clock, Random, SecretBox } from '#src/ports/runtime.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { Signals } from '#src/ports/signals.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';
import type { OutageGate, ReceiptAuthority } from '../contracts.ts';
import { DeviceMemory, type DeviceMemoryOptions } from '../devices/device-memory.ts';
import { PageTokens } from '../page-tokens.ts';
import type { RequestClaims } from '../request-claims.ts';
import type { Trail } from '../trail.ts';
import { RevocationFeed } from './revocations.ts';
import { SessionCache } from './session-cache.ts';
import { SessionConnections } from './session-connection.ts';
import { SessionCreation, type SessionLimits } from './session-creation.ts';
import { SessionDirectory } from './session-directory.ts';
import { SessionEndings } from './session-endings.ts';
import { SessionExpiry } from './session-expiry.ts';
import { SessionReceipts } from './session-receipts.ts';
import { SessionRenewal } from './session-renewal.ts';
import { SessionRiskWatch } from './session-risk.ts';
import { SessionUses } from './session-uses.ts';
import { SessionValidation } from './session-validation.ts';

export interface SessionOptions extends SessionLimits {
  /** Sessions kept in memory; 0 switches the cache off. */
  readonly cacheEntries: number;
  /** How often uses are told to the store. */
  readonly flushMs: DurationMs;
  readonly sweepMs: DurationMs;
  /** How long ended sessions and the revocation log are kept. */
  readonly retentionMs: DurationMs;
  /** Heartbeat of WatchRevocations. */
  readonly heartbeatMs: DurationMs;
  readonly reactions: RiskReactions;
  readonly trustedDevices: DeviceMemoryOptions;
}

export interface SessionsDependencies {
  readonly store: SessionStore;
  readonly signals: Signals;
  readonly receipts: ReceiptAuthority;
  readonly claims: RequestClaims;
  readonly locator: Locator;
  readonly agents: UserAgentParser;
  readonly secrets: SecretBox;
  readonly outages: OutageGate;
  readonly trail: Trail;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly options: SessionOptions;
}

const SWEEP_BATCH = 200;
const STREAM_BATCH = 500;

/** Everything about sessions, wired. */
export class Sessions {
  /** The SessionAuthority for other services. */
  readonly validation: SessionValidation;
  readonly creation: SessionCreation;
  readonly renewal: SessionRenewal;
  readonly directory: SessionDirectory;
  /** For other services that end sessions, for instance after a factor change. */
  readonly endings: SessionEndings;
  readonly revocations: RevocationFeed;
  readonly #expiry: SessionExpiry;
  readonly #uses: SessionUses;

  constructor(deps: SessionsDependencies) {
    const { store, signals, secrets, outages, trail, clock, random, metrics, log, claims, options } = deps;
    const cache = new SessionCache(signals, options.cacheEntries);
    const connections = new SessionConnections(deps.locator, deps.agents);
    const pageTokens = new PageTokens(secrets);
    const receipts = new SessionReceipts(deps.receipts, trail);
    const { flushMs, sweepMs, retentionMs, heartbeatMs, reactions } = options;
    const uses = new SessionUses({ store, clock, log, flushMs, maxPending: Math.max(1_000, options.cacheEntries) });
    const endings = new SessionEndings({ store, cache, signals, trail, metrics, clock });
    const risk = new SessionRiskWatch({ store, connections, endings, uses, trail, metrics, clock, reactions });
    const validation = new SessionValidation({ store, cache, uses, risk, endings, outages, trail, metrics, clock });
    const memory = new DeviceMemory({ secrets, trail, random, ...options.trustedDevices });
    const made = { store, receipts, connections, claims, secrets, trail, clock, random };
    this.validation = validation;
    this.endings = endings;
    this.creation = new SessionCreation({ ...made, endings, uses, memory, limits: options });
    this.renewal = new SessionRenewal({ ...made, validation, cache, uses });
    this.directory = new SessionDirectory({ store, validation, endings, uses, pageTokens, clock });
    this.revocations = new RevocationFeed({
      store,
      signals,
      cursors: pageTokens,
      clock,
      heartbeatMs,
      batch: STREAM_BATCH,
    });
    this.#uses = uses;
    this.#expiry = new SessionExpiry({
      store,
      endings,
      uses,
      clock,
      log,
      sweepMs,
      retentionMs,
      batch: SWEEP_BATCH,
    });
  }

  /** Begins the sweep for sessions whose time is up. */
  start(): void {
    this.#expiry.start();
  }

  /** One sweep now; answers how many sessions ended. */
  sweep(): Promise<number> {
    return this.#expiry.sweep();
  }

  /** At shutdown, before the store closes: stops the sweep and tells the store the last uses. */
  async stop(): Promise<void> {
    await this.#expiry.stop();
    await this.#uses.flush();
  }
}
