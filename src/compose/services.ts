import type { Config } from '#src/config/schema.ts';
import type { BudgetLimits } from '#src/domain/failure-budget.ts';
import type { Policy } from '#src/domain/policy.ts';
import { decide } from '#src/domain/policy-decision.ts';
import { DAY, MINUTE, SECOND } from '#src/domain/time.ts';
import type { Locator, UserAgentParser } from '#src/ports/devices.ts';
import type { ReceiptTokens } from '#src/ports/receipt-tokens.ts';
import type { Clock, KeyedDigest, Random, SecretBox, SlowHash } from '#src/ports/runtime.ts';
import type { Signals } from '#src/ports/signals.ts';
import type { AttemptStore, ChallengeStore, FactorStore, SessionStore, SigningKeyStore } from '#src/ports/stores.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';
import { ChallengeAccess } from '#src/services/challenge-access.ts';
import { ChallengeEndings } from '#src/services/challenge-endings.ts';
import { ChallengeExpiry } from '#src/services/challenge-expiry.ts';
import { ChallengeOpening } from '#src/services/challenge-opening.ts';
import { ChallengeWatches } from '#src/services/challenge-watch.ts';
import { Challenges } from '#src/services/challenges.ts';
import { CoarseTimer } from '#src/services/coarse-timer.ts';
import { type FactorServices, factorServices } from '#src/services/factors.ts';
import { Lanes } from '#src/services/lanes.ts';
import { Operations } from '#src/services/operations.ts';
import { Receipts } from '#src/services/receipts.ts';
import { Redemption } from '#src/services/redemption.ts';
import { RepeatedAnswers } from '#src/services/repeated-answers.ts';
import { RequestClaims } from '#src/services/request-claims.ts';
import { Sessions } from '#src/services/sessions.ts';
import type { Trail } from '#src/services/trail.ts';
import { Verification } from '#src/services/verification.ts';

/** How long a request id is remembered: longer than any client retries. */
const REQUEST_TTL = DAY;
/** Longer than any receipt, challenge or request id can be of use. */
const KEEP_CHALLENGES = 2 * DAY;
const KEEP_SESSIONS = 30 * DAY;
const MAX_WATCHES_PER_SUBJECT = 20;
const MAX_WAITING_PROOFS = 64;
const MAX_REMEMBERED_ANSWERS = 10_000;

export interface ServiceDependencies {
  readonly config: Config;
  readonly policy: Policy;
  readonly stores: {
    readonly challenges: ChallengeStore;
    readonly attempts: AttemptStore;
    readonly factors: FactorStore;
    readonly sessions: SessionStore;
    readonly signingKeys: SigningKeyStore;
  };
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
  readonly challenges: Challenges;
  readonly verification: Verification;
  readonly redemption: Redemption;
  readonly watches: ChallengeWatches;
  readonly receipts: Receipts;
  readonly operations: Operations;
  readonly timer: CoarseTimer;
  /** Begins the sweeps. */
  start(): void;
  /** Ends them; resolves when nothing is under way. */
  stop(): Promise<void>;
}

/** Every use case, wired in the order in which they need one another. */
export function composeServices(deps: ServiceDependencies): Services {
  const { config, policy, stores, trail, signals, box, digest, clock, random, metrics, log } = deps;
  const budget: BudgetLimits = {
    shortAttempts: config.budget.short_attempts,
    shortLockMs: config.budget.short_lock,
    hardAttempts: config.budget.hard_attempts,
  };
  const made = { trail, signals, clock, random, metrics, log, box };
  const claims = new RequestClaims({ clock, digest, ttlMs: REQUEST_TTL });
  const lanes = new Lanes({ maxWaiting: MAX_WAITING_PROOFS });
  const timer = new CoarseTimer({ clock, stepMs: SECOND / 4 });
  const receipts = new Receipts({
    ...made,
    tokens: deps.tokens,
    keys: stores.signingKeys,
    issuer: 'sallyport',
    refreshMs: MINUTE,
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
      sweepMs: 5 * SECOND,
      retentionMs: KEEP_SESSIONS,
      heartbeatMs: config.challenge.heartbeat,
      reactions: {
        ADDRESS_CHANGED: config.sessions.risk.address_changed,
        ADDRESS_UNKNOWN: config.sessions.risk.address_unknown,
        AGENT_CHANGED: config.sessions.risk.agent_changed,
        DEVICE_CHANGED: config.sessions.risk.device_changed,
        IMPOSSIBLE_TRAVEL: config.sessions.risk.impossible_travel,
      },
    },
  });
  const authority = sessions.validation;
  const factors = factorServices({
    ...made,
    factors: stores.factors,
    attempts: stores.attempts,
    sessions: authority,
    receipts,
    digest,
    slowHash: deps.slowHash,
    claims,
    lanes,
    options: {
      policy,
      budget,
      issuer: config.totp.issuer,
      firstFactorMaxSessionAgeMs: config.enrollment.first_factor_max_session_age,
      enrollmentTtlMs: config.enrollment.ttl,
      maxFactors: config.enrollment.max_factors,
      totpWindow: config.totp.window,
      resyncReach: config.totp.resync_reach,
      requiredMethods: policy.mfaEnabled ? policy.criticalMethods : [],
    },
  });

  const endings = new ChallengeEndings({ ...made, challenges: stores.challenges });
  const access = new ChallengeAccess({ ...made, challenges: stores.challenges, sessions: authority, endings });
  const expiry = new ChallengeExpiry({ challenges: stores.challenges, endings, clock, log, keepMs: KEEP_CHALLENGES });
  const opening = new ChallengeOpening({
    ...made,
    challenges: stores.challenges,
    factors: stores.factors,
    attempts: stores.attempts,
    sessions: authority,
    endings,
    claims,
    policy,
    decide,
    budget,
    maxOpen: config.challenge.max_open_per_subject,
    receiptLifeMs: config.challenge.receipt_ttl,
    opened: (challenge) => expiry.track(challenge),
  });
  const challenges = new Challenges({ ...made, opening, access, endings, challenges: stores.challenges, receipts });
  const verification = new Verification({
    ...made,
    access,
    endings,
    challenges: stores.challenges,
    attempts: stores.attempts,
    checker: factors.checker,
    claims,
    repeats: new RepeatedAnswers({ max: MAX_REMEMBERED_ANSWERS }),
    lanes,
    budget,
    receiptLifeMs: config.challenge.receipt_ttl,
  });
  return {
    sessions,
    factors,
    challenges,
    verification,
    redemption: new Redemption({ ...made, receipts, challenges: stores.challenges, sessions: authority, claims }),
    watches: new ChallengeWatches({
      ...made,
      access,
      endings,
      views: challenges,
      challenges: stores.challenges,
      timer,
      heartbeatMs: config.challenge.heartbeat,
      maxPerSubject: MAX_WATCHES_PER_SUBJECT,
      max: config.limits.max_streams,
    }),
    receipts,
    operations: new Operations({ attempts: stores.attempts, trail }),
    timer,
    start() {
      sessions.start();
      expiry.start();
    },
    async stop() {
      await Promise.all([sessions.stop(), expiry.stop()]);
    },
  };
}
