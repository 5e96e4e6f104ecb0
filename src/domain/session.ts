import type { EpochMs } from './time.ts';

export type EndReason =
  | 'LOGOUT'
  | 'REVOKED'
  | 'OPERATOR'
  | 'EVICTED'
  | 'EXPIRED'
  | 'IDLE'
  | 'HIJACK'
  | 'FACTOR_CHANGE'
  | 'ERASED';

export type SessionLimitPolicy = 'evict_oldest' | 'reject' | 'ask';

export interface Location {
  readonly countryCode: string;
  readonly city: string;
  /** Degrees, one decimal. */
  readonly latitude: number;
  /** Degrees, one decimal. */
  readonly longitude: number;
}

export interface Device {
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly deviceId: string;
  readonly browser: string;
  readonly operatingSystem: string;
  readonly location?: Location;
}

/** Bound on the changes that are noted, and so audited, for one session. */
export const MAX_NOTED_CHANGES = 16;

/** What hijack signals left on a session. */
export interface SessionRisk {
  /** True until the person proves themselves again. */
  readonly stepUpRequired: boolean;
  /** Changes that were noted and audited (domain/risk.ts), so that each is audited once; at most MAX_NOTED_CHANGES. */
  readonly changes: readonly string[];
}

/** A session as stored. Plain data; the token itself is never stored, only its SHA-256. */
export interface Session {
  readonly id: string;
  readonly realm: string;
  readonly subject: string;
  /** SHA-256 of the current token, base64url. */
  readonly tokenDigest: string;
  readonly device: Device;
  readonly amr: readonly string[];
  readonly acr: string;
  readonly mfaAt?: EpochMs;
  readonly createdAt: EpochMs;
  readonly lastUsedAt: EpochMs;
  /** Absolute; never moves. */
  readonly expiresAt: EpochMs;
  /** The idle limit in force when it was created, in milliseconds. */
  readonly idleMs: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Absent while nothing was noted. */
  readonly risk?: SessionRisk;
  readonly endedAt?: EpochMs;
  readonly endReason?: EndReason;
}

/** One entry of the revocation log. `position` grows without gaps being promised. */
export interface Revocation {
  readonly position: number;
  readonly realm: string;
  readonly sessionId: string;
  readonly subject: string;
  readonly reason: EndReason;
  readonly endedAt: EpochMs;
}

/** One entry of the log of changes. Copies of the session that were read at a lower position are out of date. */
export interface SessionChange {
  /** Grows by one with each entry of a realm. */
  readonly position: number;
  readonly realm: string;
  readonly sessionId: string;
  readonly subject: string;
  /** Undefined when the session lives on with another token, risk or labels. */
  readonly endReason?: EndReason;
  readonly at: EpochMs;
}

export type Liveness = { readonly alive: true } | { readonly alive: false; readonly reason: EndReason };

/** Whether the session is good at `now`, by its end mark, its absolute limit, and its idle limit, in this order. */
export function livenessAt(session: Session, now: EpochMs, lastUsedAt: EpochMs = session.lastUsedAt): Liveness {
  if (session.endReason !== undefined) return { alive: false, reason: session.endReason };
  if (now >= session.expiresAt) return { alive: false, reason: 'EXPIRED' };
  if (now >= lastUsedAt + session.idleMs) return { alive: false, reason: 'IDLE' };
  return { alive: true };
}
