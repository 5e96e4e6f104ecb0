import type { Challenge } from '#src/domain/challenge.ts';
import type { BudgetLimits } from '#src/domain/failure-budget.ts';
import type { Policy, PolicyDecision, PolicyRequest } from '#src/domain/policy.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { AttemptStore } from '#src/ports/attempt-store.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { Clock, Random, SecretBox } from '#src/ports/runtime.ts';
import type { Signals } from '#src/ports/signals.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';
import type { OutageGate, ReceiptAuthority, SessionAuthority, TrustedDeviceAuthority } from '../contracts.ts';
import type { Lanes } from '../lanes.ts';
import type { MethodRegistry } from '../methods/registry.ts';
import type { RequestClaims } from '../request-claims.ts';
import type { Trail } from '../trail.ts';
import { ChallengeAccess } from './challenge-access.ts';
import { ChallengeEndings } from './challenge-endings.ts';
import { ChallengeExpiry } from './challenge-expiry.ts';
import { ChallengeOpening } from './challenge-opening.ts';
import { ChallengeWatches } from './challenge-watch.ts';
import { Challenges } from './challenges.ts';
import { Choosing } from './choosing.ts';
import { CoarseTimer } from './coarse-timer.ts';
import type { Deliveries } from './deliveries.ts';
import { Denials } from './denials.ts';
import { LivePush } from './live-push.ts';
import type { ProofChecker } from './proof.ts';
import { Redemption } from './redemption.ts';
import { RepeatedAnswers } from './repeated-answers.ts';
import { Verification } from './verification.ts';

/** Answers remembered by their request id in this process. */
const MAX_REMEMBERED = 1_024;
/** How exact heartbeats are. */
const TIMER_STEP: DurationMs = 250;

export interface ChallengeEngineOptions {
  readonly policy: Policy;
  readonly budget: BudgetLimits;
  /** Open challenges of one person at once. */
  readonly maxOpenChallenges: number;
  readonly receiptLifeMs: DurationMs;
  readonly heartbeatMs: DurationMs;
  /** Streams that follow challenges of one person, and all of them. */
  readonly maxStreamsPerSubject: number;
  readonly maxStreams: number;
  /** How long ended challenges and spent receipts are kept; more than any receipt lives. */
  readonly keepMs: DurationMs;
  /** How often to look for overdue challenges of others. */
  readonly sweepMs: DurationMs;
}

export interface ChallengeEngineDependencies {
  readonly options: ChallengeEngineOptions;
  /** domain/policy-decision.ts */
  readonly decide: (policy: Policy, request: PolicyRequest) => PolicyDecision;
  readonly challenges: ChallengeStore;
  readonly attempts: AttemptStore;
  readonly factors: Pick<FactorStore, 'list' | 'read' | 'freeze'>;
  readonly sessions: SessionAuthority;
  readonly receipts: ReceiptAuthority;
  readonly devices: TrustedDeviceAuthority;
  readonly checker: ProofChecker;
  readonly methods: MethodRegistry;
  /** The same that the methods tell. */
  readonly deliveries: Deliveries;
  readonly signals: Signals;
  readonly claims: RequestClaims;
  /** The same that confirmations of enrolments queue in. */
  readonly lanes: Lanes;
  readonly outages: OutageGate;
  readonly trail: Trail;
  readonly box: SecretBox;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly clock: Clock;
  readonly random: Random;
}

/** All that belongs to challenges, wired together. Call `expiry.start()` once the stores are there, `expiry.stop()` at the end. */
export class ChallengeEngine {
  readonly challenges: Challenges;
  /** For those who look for a challenge by other things than its session. */
  readonly access: ChallengeAccess;
  readonly verification: Verification;
  readonly redemption: Redemption;
  readonly watches: ChallengeWatches;
  readonly expiry: ChallengeExpiry;
  readonly timer: CoarseTimer;

  constructor(deps: ChallengeEngineDependencies) {
    const { options, clock } = deps;
    const { budget, receiptLifeMs } = options;
    const endings = new ChallengeEndings(deps);
    const access = new ChallengeAccess({ ...deps, endings });
    this.access = access;
    this.timer = new CoarseTimer({ clock, stepMs: TIMER_STEP });
    this.expiry = new ChallengeExpiry({ ...deps, endings, sweepMs: options.sweepMs, keepMs: options.keepMs });
    const opening = new ChallengeOpening({
      ...deps,
      endings,
      policy: options.policy,
      maxOpen: options.maxOpenChallenges,
      receiptLifeMs,
      opened: (challenge: Challenge) => this.expiry.track(challenge),
    });
    const livePush = new LivePush({ ...deps, endings });
    const choosing = new Choosing({ ...deps, access, endings, livePush });
    this.challenges = new Challenges({ ...deps, opening, access, endings, choosing });
    this.verification = new Verification({
      ...deps,
      access,
      endings,
      budget,
      denials: new Denials({ ...deps, endings }),
      receiptLifeMs,
      repeats: new RepeatedAnswers({ max: MAX_REMEMBERED }),
    });
    this.redemption = new Redemption(deps);
    this.watches = new ChallengeWatches({
      ...deps,
      access,
      endings,
      views: this.challenges,
      timer: this.timer,
      heartbeatMs: options.heartbeatMs,
      maxPerSubject: options.maxStreamsPerSubject,
      max: options.maxStreams,
    });
  }
}
