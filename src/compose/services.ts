import type { Config } from '#src/config/schema.ts';
import type { BudgetLimits } from '#src/domain/failure-budget.ts';
import type { Policy } from '#src/domain/policy.ts';
import { decide } from '#src/domain/policy-decision.ts';
import { DAY, HOUR, MINUTE, SECOND } from '#src/domain/time.ts';
import type { AuditLog } from '#src/ports/audit.ts';
import type { Locator, UserAgentParser } from '#src/ports/devices.ts';
import type { ReceiptTokens } from '#src/ports/receipt-tokens.ts';
import type { Clock, KeyedDigest, Random, SecretBox, SlowHash } from '#src/ports/runtime.ts';
import type { Signals } from '#src/ports/signals.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';
import { AuditReader } from '#src/services/audit-reader.ts';
import { ChallengeEngine } from '#src/services/challenges/challenge-engine.ts';
import { Deliveries } from '#src/services/challenges/deliveries.ts';
import { Receipts } from '#src/services/challenges/receipts.ts';
import type { OutageGate } from '#src/services/contracts.ts';
import { DeviceLogins } from '#src/services/devices/device-logins.ts';
import { TrustedDevices } from '#src/services/devices/trusted-devices.ts';
import { BackupCodeSets } from '#src/services/factors/backup-code-sets.ts';
import { type FactorServices, factorServices } from '#src/services/factors/factors.ts';
import { Housekeeping } from '#src/services/housekeeping.ts';
import { Lanes } from '#src/services/lanes.ts';
import type { PushDevices } from '#src/services/methods/push-api.ts';
import type { MethodRegistry } from '#src/services/methods/registry.ts';
import type { SmsCallbacks } from '#src/services/methods/sms-callbacks.ts';
import { NotMe } from '#src/services/notices/not-me.ts';
import { NotMeLinks } from '#src/services/notices/not-me-links.ts';
import { Operations } from '#src/services/operations.ts';
import { PageTokens } from '#src/services/page-tokens.ts';
import { type PrivacyServices, privacyServices } from '#src/services/privacy/privacy.ts';
import { RequestClaims } from '#src/services/request-claims.ts';
import { Sessions } from '#src/services/sessions/sessions.ts';
import type { Trail } from '#src/services/trail.ts';
import { composeMethods } from './methods.ts';
import { composeNotices } from './notices.ts';
import { composePush } from './push-method.ts';
import { composeSms } from './sms.ts';
import type { Storage } from './storage.ts';

/** How long a request id is remembered: longer than any client retries. */
const REQUEST_TTL = DAY;
/** How often to look for what is long over. */
const TIDY_EVERY = 10 * MINUTE;
/** How often to look for what a crash left overdue. Where many share a database, each has to ask less often. */
const SWEEP_ALONE = 5 * SECOND;
const SWEEP_SHARED = 30 * SECOND;
const MAX_STREAMS_PER_SUBJECT = 20;
const MAX_WAITING_PROOFS = 256;

export interface ServiceDependencies {
  readonly config: Config;
  readonly policy: Policy;
  readonly stores: Storage['stores'];
  readonly audit: AuditLog;
  /** See Storage. */
  readonly onDurable: Storage['onDurable'];
  readonly outages: OutageGate;
  readonly trail: Trail;
  readonly signals: Signals;
  readonly box: SecretBox;
  readonly digest: KeyedDigest;
  readonly slowHash: SlowHash;
  readonly tokens: ReceiptTokens;
  readonly locator: Locator;
  readonly agents: UserAgentParser;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
  readonly log: Log;
}

export interface Services {
  readonly sessions: Sessions;
  readonly factors: FactorServices;
  readonly methods: MethodRegistry;
  readonly engine: ChallengeEngine;
  readonly receipts: Receipts;
  readonly operations: Operations;
  readonly devices: TrustedDevices;
  /** Takes what the SMS provider reports; undefined where it does not. */
  readonly smsCallbacks: SmsCallbacks | undefined;
  /** What browsers that approve ask for; undefined where push is switched off. */
  readonly pushDevices: PushDevices | undefined;
  /** What follows when a person says that a change was not theirs. */
  readonly notMe: NotMe;
  readonly privacy: PrivacyServices;
  readonly auditReader: AuditReader;
  /** Begins the sweeps. */
  start(): void;
  /** Ends them; resolves when nothing is under way. */
  stop(): Promise<void>;
}

/** Every use case, wired in the order in which they need one another. */
export function composeServices(deps: ServiceDependencies): Services {
  const { config, policy, stores, outages, trail, signals, box, digest, clock, random, metrics, log } = deps;
  const budget: BudgetLimits = {
    shortAttempts: config.budget.short_attempts,
    shortLockMs: config.budget.short_lock,
    hardAttempts: config.budget.hard_attempts,
  };
  const made = { outages, trail, signals, clock, random, metrics, log, box };
  const sweepMs = config.postgres.url === undefined ? SWEEP_ALONE : SWEEP_SHARED;
  const claims = new RequestClaims({ clock, digest, ttlMs: REQUEST_TTL });
  const lanes = new Lanes({ maxWaiting: MAX_WAITING_PROOFS });
  const receipts = new Receipts({
    ...made,
    tokens: deps.tokens,
    keys: stores.signingKeys,
    issuer: 'sallyport',
    refreshMs: 5 * SECOND,
  });
  const sessions = new Sessions({
    ...made,
    store: stores.sessions,
    receipts,
    claims,
    locator: deps.locator,
    agents: deps.agents,
    secrets: box,
    options: {
      cap: config.sessions.cap,
      policy: config.sessions.policy,
      absoluteMs: config.sessions.absolute,
      idleMs: config.sessions.idle,
      cacheEntries: config.sessions.cache_size,
      flushMs: config.sessions.touch_interval,
      sweepMs,
      retentionMs: config.privacy.session_retention,
      heartbeatMs: config.challenge.heartbeat,
      reactions: {
        ADDRESS_CHANGED: config.sessions.risk.address_changed,
        ADDRESS_UNKNOWN: config.sessions.risk.address_unknown,
        AGENT_CHANGED: config.sessions.risk.agent_changed,
        DEVICE_CHANGED: config.sessions.risk.device_changed,
        IMPOSSIBLE_TRAVEL: config.sessions.risk.impossible_travel,
      },
      trustedDevices: {
        enabled: config.trusted_devices.enabled,
        lifeMs: config.trusted_devices.life,
        maxDevices: config.trusted_devices.max_per_subject,
      },
    },
  });
  const authority = sessions.validation;
  const backupCodes = new BackupCodeSets({ factors: stores.factors, digest, slowHash: deps.slowHash, random });
  const deliveries = new Deliveries({ ...made, challenges: stores.challenges });
  const push = composePush({
    ...made,
    config,
    keys: stores.pushKeys,
    factors: stores.factors,
    codes: stores.codes,
    ledger: stores.ledger,
    deliveries,
    digest,
  });
  const sms = composeSms({
    ...made,
    config,
    challenges: stores.challenges,
    factors: stores.factors,
    issued: stores.codes,
    ledger: stores.ledger,
    deliveries,
    digest,
  });
  const methods = composeMethods({
    ...made,
    config,
    sms: sms?.parts,
    push: push?.push.parts,
    deliveries,
    backupCodes,
    digest,
    codes: stores.codes,
    factors: stores.factors,
  });
  const factors = factorServices({
    ...made,
    factors: stores.factors,
    attempts: stores.attempts,
    sessions: authority,
    receipts,
    digest,
    methods,
    backupCodes,
    claims,
    lanes,
    options: {
      policy,
      budget,
      firstFactorMaxSessionAgeMs: config.enrollment.first_factor_max_session_age,
      enrollmentTtlMs: config.enrollment.ttl,
      maxFactors: config.enrollment.max_factors,
      requiredMethods: policy.mfaEnabled ? policy.criticalMethods : [],
    },
  });

  const engine = new ChallengeEngine({
    ...made,
    challenges: stores.challenges,
    attempts: stores.attempts,
    factors: stores.factors,
    sessions: authority,
    receipts,
    checker: factors.checker,
    methods,
    deliveries,
    devices: new DeviceLogins({
      ...made,
      devices: stores.devices,
      digest,
      enabled: config.trusted_devices.enabled,
      graceMs: config.trusted_devices.grace,
    }),
    claims,
    decide,
    lanes,
    options: {
      policy,
      budget,
      maxOpenChallenges: config.challenge.max_open_per_subject,
      receiptLifeMs: config.challenge.receipt_ttl,
      heartbeatMs: config.challenge.heartbeat,
      maxStreamsPerSubject: MAX_STREAMS_PER_SUBJECT,
      maxStreams: config.limits.max_streams,
      keepMs: config.privacy.challenge_retention,
      sweepMs,
    },
  });
  const devices = new TrustedDevices({ ...made, devices: stores.devices, secrets: box });
  const links = new NotMeLinks({
    box,
    clock,
    lifeMs: config.notices.not_me_life,
    publicUrl: config.listeners.public.url,
  });
  const notices = composeNotices({
    ...made,
    config,
    outbox: stores.notices,
    factors: stores.factors,
    ledger: stores.ledger,
    digest,
    sms,
    links,
  });
  const unfollow = notices ? deps.onDurable((written) => notices.noted(written)) : () => {};
  const { attempts, subjects, consents, records, codes, ledger } = stores;
  const housekeeping = new Housekeeping({
    ...made,
    everyMs: TIDY_EVERY,
    chores: [
      { what: 'codes', keepMs: 0, purge: (before, limit) => codes.purge(before, limit) },
      { what: 'sends', keepMs: 0, purge: (before, limit) => ledger.purge(before, limit) },
      // For an hour whoever is late hears that the enrolment lapsed.
      { what: 'enrolments', keepMs: HOUR, purge: (before, limit) => stores.factors.purge(before, limit) },
      {
        what: 'trusted devices',
        keepMs: config.privacy.session_retention,
        purge: (before, limit) => stores.devices.purge(before, limit),
      },
    ],
  });
  const { endings } = sessions;
  return {
    sessions,
    factors,
    methods,
    engine,
    receipts,
    operations: new Operations({
      ...made,
      attempts,
      subjects,
      factors: stores.factors,
      sessions: stores.sessions,
      endings,
      claims,
      secrets: box,
      digest,
      passLifeMs: config.privacy.pass_life,
    }),
    devices,
    smsCallbacks: sms?.callbacks,
    pushDevices: push?.push.devices({
      challenges: stores.challenges,
      confirmation: factors.confirmation,
      verification: engine.verification,
    }),
    notMe: new NotMe({ ...made, digest, links, attempts, factors: stores.factors, devices, endings }),
    privacy: privacyServices({
      ...made,
      consents,
      factors: stores.factors,
      sessions: stores.sessions,
      attempts,
      subjects,
      records,
      devices: stores.devices,
      audit: deps.audit,
      endings,
      claims,
      digest,
      maxBytes: config.privacy.max_export,
    }),
    auditReader: new AuditReader({
      audit: deps.audit,
      clock,
      pageTokens: new PageTokens(box),
      counters: () => trail.counters,
      heartbeatMs: config.challenge.heartbeat,
    }),
    start() {
      sessions.start();
      engine.expiry.start();
      housekeeping.start();
      notices?.start();
    },
    async stop() {
      unfollow();
      await Promise.all([sms?.stop(), push?.stop(), notices?.stop()]);
      await Promise.all([sessions.stop(), engine.expiry.stop(), housekeeping.stop()]);
    },
  };
}
