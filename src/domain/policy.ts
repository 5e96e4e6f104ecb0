import type { Sensitivity } from './action.ts';
import type { ChallengePurpose } from './challenge.ts';
import type { Method } from './method.ts';
import type { DurationMs, EpochMs } from './time.ts';

/** What a rule asks for. `mfa_once` means once per action. */
export type Requirement = 'none' | 'session' | 'mfa_recent' | 'mfa_once' | 'deny';

/** A rule as configured; absent matchers match everything. Globs: `*` within one segment, `**` across segments. */
export interface PolicyRule {
  /** Where it stands in the settings, for instance `policy.rules[2]`. */
  readonly id: string;
  readonly description: string;
  readonly match: {
    readonly realm?: string;
    readonly resource?: string;
    readonly action?: string;
    readonly host?: string;
    readonly path?: string;
    readonly httpMethods?: readonly string[];
    readonly sensitivity?: readonly Sensitivity[];
    readonly purpose?: readonly ChallengePurpose[];
  };
  /** Raises the sensitivity to at least this. */
  readonly sensitivity?: Sensitivity;
  readonly require?: Requirement;
  /** For `mfa_recent`. */
  readonly maxAgeMs?: DurationMs;
  /** Methods that satisfy it; absent means the default of the sensitivity. */
  readonly methods?: readonly Method[];
  readonly ttlMs?: DurationMs;
  /** What to do when it cannot be decided; read by later parts, never looser than deny for critical. */
  readonly outage?: 'deny' | 'session';
}

export interface Policy {
  readonly mfaEnabled: boolean;
  /** Switched on, in order of preference. */
  readonly methods: readonly Method[];
  readonly profile: 'default' | 'nist';
  readonly rules: readonly PolicyRule[];
  /** What each sensitivity asks for when no rule says otherwise. */
  readonly defaults: Readonly<Record<Sensitivity, { readonly require: Requirement; readonly maxAgeMs?: DurationMs }>>;
  /** Methods that satisfy critical actions. */
  readonly criticalMethods: readonly Method[];
  /** SMS on critical, only for a person with nothing stronger. */
  readonly smsForCritical: boolean;
  readonly ttlMs: Readonly<Record<ChallengePurpose, DurationMs>>;
}

export interface PolicyRequest {
  readonly realm: string;
  readonly resource: string;
  readonly action: string;
  readonly host?: string;
  readonly path?: string;
  readonly httpMethod?: string;
  /** As the caller holds it; undefined counts as critical for `action`, since that is the safe reading. */
  readonly sensitivity?: Sensitivity;
  readonly purpose: ChallengePurpose;
  /** The person's methods in use. */
  readonly enrolled: readonly Method[];
  /** Those too that are frozen: freezing a strong factor is no way to a weaker one. Absent: the same as `enrolled`. */
  readonly held?: readonly Method[];
  /** When the session last saw MFA. */
  readonly mfaAt?: EpochMs;
  /** By what the session was proven; which of them came last is not known. */
  readonly mfaBy?: readonly Method[];
  readonly now: EpochMs;
}

export type PolicyDecision =
  /** Nothing to prove. */
  | {
      readonly verdict: 'allow';
      readonly reason: 'MFA_DISABLED' | 'NOT_REQUIRED' | 'RECENT_MFA';
      /** Allowed to somebody with a live session; whoever holds the session must look. */
      readonly needsSession: boolean;
      readonly rule: string;
      readonly sensitivity: Sensitivity;
      readonly explanation: readonly string[];
    }
  /** Prove it by one of `methods` (in order of preference) that the person has; empty when they have none that would do. */
  | {
      readonly verdict: 'challenge';
      readonly methods: readonly Method[];
      /** Methods that would do, enrolled or not. */
      readonly acceptable: readonly Method[];
      /** Whether a remembered device makes the proof needless: at login, below critical, where no rule names methods. */
      readonly trustedDevice: boolean;
      readonly ttlMs: DurationMs;
      readonly rule: string;
      readonly sensitivity: Sensitivity;
      readonly explanation: readonly string[];
    }
  | {
      readonly verdict: 'deny';
      readonly rule: string;
      readonly sensitivity: Sensitivity;
      readonly explanation: readonly string[];
    };
