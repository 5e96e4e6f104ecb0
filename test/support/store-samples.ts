import type { EventDraft, EventType } from '#src/domain/audit-event.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import type { BackupCodeHash, Consent, Factor } from '#src/domain/factor.ts';
import { newId } from '#src/domain/ids.ts';
import type { Session } from '#src/domain/session.ts';
import { MINUTE } from '#src/domain/time.ts';
import type { TrustedDevice } from '#src/domain/trusted-device.ts';
import type { BackupCodeSet, BeginFactor, ConfirmFactor } from '#src/ports/factor-store.ts';
import type { RequestClaim } from '#src/ports/intents.ts';
import type { IssuedCode } from '#src/ports/issued-codes.ts';
import type { CreateSession } from '#src/ports/session-store.ts';
import { SeededRandom } from './random.ts';

/** Plain values for store tests. Ids never repeat within a process, so tests may share a store. */

const random = new SeededRandom('store samples');

/** The instant at which everything begins. */
export const T0 = Date.UTC(2026, 0, 15, 12, 0, 0);
export const REALM = 'main';
export const LIMITS = { shortAttempts: 5, shortLockMs: 15 * MINUTE, hardAttempts: 100 };

export const id = (kind: Parameters<typeof newId>[0]) => newId(kind, random.bytes(16));
export const person = () => `person-${id('code').slice(4, 14)}`;
export const bytes = (length = 32) => random.bytes(length);
export const digest = () => Buffer.from(random.bytes(32)).toString('base64url');

export function eventOf(type: EventType, fields: Partial<EventDraft> = {}): EventDraft {
  return { id: id('event'), type, at: T0, realm: REALM, outcome: 'SUCCESS', caller: 'test', ...fields };
}

export function claimOf(fields: Partial<RequestClaim> = {}): RequestClaim {
  return {
    key: `${REALM}\nMethod\ntest\n${id('code')}`,
    fingerprint: 'first',
    seed: Uint8Array.of(1, 2, 3),
    expiresAt: T0 + 60 * MINUTE,
    ...fields,
  };
}

export function burnOf() {
  return { receiptId: id('receipt'), expiresAt: T0 + 5 * MINUTE };
}

export function challengeOf(fields: Partial<Challenge> = {}): Challenge {
  return {
    id: id('challenge'),
    realm: REALM,
    subject: person(),
    sessionId: '',
    openedBy: 'test',
    purpose: 'action',
    action: { resource: 'accounts/42', action: 'transfer', details: new Map([['amount', '9 €']]) },
    actionDigest: 'sha-256:x',
    sensitivity: 'critical',
    audience: 'app',
    state: 'PENDING',
    offers: [{ method: 'totp', factorId: 'fac_1', displayName: 'phone' }],
    policyRule: 'policy.rules[0]',
    createdAt: T0,
    expiresAt: T0 + MINUTE,
    ...fields,
  };
}

export function factorOf(fields: Partial<Factor> = {}): Factor {
  return {
    id: id('factor'),
    realm: REALM,
    subject: person(),
    method: 'totp',
    displayName: 'phone',
    state: 'PENDING',
    sealedSecret: Uint8Array.of(9, 9),
    lastStep: -1,
    driftSteps: 0,
    replaces: '',
    createdAt: T0,
    expiresAt: T0 + 10 * MINUTE,
    codesLeft: 0,
    ...fields,
  };
}

export function consentOf(fields: Partial<Consent> = {}): Consent {
  return { id: id('consent'), method: 'totp', textVersion: '2026-11', language: 'en', grantedAt: T0, ...fields };
}

export function issuedOf(fields: Partial<IssuedCode> & Pick<IssuedCode, 'subject' | 'bearerId'>): IssuedCode {
  return {
    realm: REALM,
    method: 'sms',
    factorId: id('factor'),
    digest: random.bytes(32),
    sealed: new Uint8Array(),
    issuedAt: T0,
    expiresAt: T0 + MINUTE,
    ...fields,
  };
}

export function deviceOf(fields: Partial<TrustedDevice> = {}): TrustedDevice {
  return {
    id: id('device'),
    realm: REALM,
    subject: person(),
    tokenDigest: digest(),
    displayName: 'Firefox on Linux',
    sealedConnection: Uint8Array.of(7, 7),
    createdAt: T0,
    lastUsedAt: T0,
    expiresAt: T0 + 30 * 24 * 60 * MINUTE,
    ...fields,
  };
}

export function codeSetOf(subject: string, count = 10): BackupCodeSet {
  const codes: BackupCodeHash[] = Array.from({ length: count }, (_, index) => ({
    id: id('code'),
    selector: `s${index}`,
    salt: random.bytes(16),
    hash: random.bytes(32),
  }));
  const factor = factorOf({
    subject,
    method: 'backup_code',
    state: 'ACTIVE',
    sealedSecret: new Uint8Array(),
    createdAt: T0 + 1,
  });
  return { factor, codes };
}

export function beginOf(factor: Factor, fields: Partial<BeginFactor> = {}): BeginFactor {
  return {
    factor,
    consent: consentOf({ method: factor.method }),
    firstOnly: false,
    maxFactors: 5,
    now: T0,
    events: [eventOf('factor.enrollment_begun', { subject: factor.subject, factorId: factor.id })],
    ...fields,
  };
}

export function confirmOf(factor: Factor, fields: Partial<ConfirmFactor> = {}): ConfirmFactor {
  const { realm, subject } = factor;
  return {
    realm,
    subject,
    factorId: factor.id,
    proof: { kind: 'totp', step: 100, driftSteps: 0 },
    now: T0 + 1_000,
    events: [eventOf('factor.enrolled', { subject, factorId: factor.id })],
    replacedEvents: [eventOf('factor.replaced', { subject })],
    backupEvents: [eventOf('backup_codes.generated', { subject })],
    ...fields,
  };
}

export function sessionOf(fields: Partial<Session> = {}): Session {
  return {
    id: id('session'),
    realm: REALM,
    subject: person(),
    tokenDigest: digest(),
    device: {
      ipAddress: '203.0.113.7',
      userAgent: 'Firefox',
      deviceId: 'd1',
      browser: 'Firefox 145',
      operatingSystem: 'Linux',
      location: { countryCode: 'SE', city: 'Malmö', latitude: 55.6, longitude: 13 },
    },
    amr: ['pwd'],
    acr: 'aal1',
    createdAt: T0,
    lastUsedAt: T0,
    expiresAt: T0 + 24 * 60 * MINUTE,
    idleMs: 30 * MINUTE,
    labels: { app: 'web' },
    ...fields,
  };
}

export function createOf(session: Session, fields: Partial<CreateSession> = {}): CreateSession {
  return {
    session,
    cap: 5,
    policy: 'evict_oldest',
    endSessionIds: [],
    now: session.createdAt,
    events: [eventOf('session.created', { subject: session.subject, sessionId: session.id })],
    evictionEvent: eventOf('session.ended', { subject: session.subject }),
    ...fields,
  };
}

/** How often each outcome came up. */
export function tally(outcomes: readonly { readonly outcome: string }[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { outcome } of outcomes) counts[outcome] = (counts[outcome] ?? 0) + 1;
  return counts;
}

/** Runs `make` so often, all at once. */
export function atOnce<T>(count: number, make: (index: number) => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => make(index)));
}
