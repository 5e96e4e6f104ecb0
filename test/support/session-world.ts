import { BowserAgentParser } from '#src/adapters/agent/bowser-parser.ts';
import { MemorySignals } from '#src/adapters/memory/signals.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import type { Caller, ClientContext } from '#src/domain/caller.ts';
import { Fault } from '#src/domain/faults.ts';
import { DEFAULT_REACTIONS } from '#src/domain/risk.ts';
import type { Location } from '#src/domain/session.ts';
import { DAY, HOUR, MINUTE, SECOND } from '#src/domain/time.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { ReceiptAuthority, ReceiptClaims } from '#src/services/contracts.ts';
import { RequestClaims } from '#src/services/request-claims.ts';
import type { CreatedSession, NewSession } from '#src/services/sessions/session-creation.ts';
import { type SessionOptions, Sessions } from '#src/services/sessions/sessions.ts';
import { Trail } from '#src/services/trail.ts';
import { ManualClock } from './clock.ts';
import { outageWorld } from './fake-dependencies.ts';
import { MemorySessionStore } from './memory-session-store.ts';
import { SeededRandom } from './random.ts';
import { RecordingAudit } from './recording-audit.ts';
import { CountingMetrics, RecordingLog } from './recording-telemetry.ts';

export const APPLICATION: Caller = { roles: new Set(['application']), name: 'grpc', correlationId: 'corr-1' };
export const OPERATOR: Caller = { roles: new Set(['operator']), name: 'admin', correlationId: 'corr-2' };

export const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0';
export const NEWER_FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0';
export const CHROME =
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36';

export const LONDON = '192.0.2.1';
export const OXFORD = '192.0.2.2';
export const NEW_YORK = '198.51.100.1';
const PLACES: Readonly<Record<string, Location>> = {
  [LONDON]: { countryCode: 'GB', city: 'London', latitude: 51.5, longitude: -0.1 },
  [OXFORD]: { countryCode: 'GB', city: 'Oxford', latitude: 51.8, longitude: -1.3 },
  [NEW_YORK]: { countryCode: 'US', city: 'New York', latitude: 40.7, longitude: -74 },
};

export const LAPTOP: ClientContext = { ipAddress: LONDON, userAgent: FIREFOX, deviceId: 'laptop' };

const OPTIONS: SessionOptions = {
  cap: 5,
  policy: 'evict_oldest',
  absoluteMs: DAY,
  idleMs: HOUR,
  cacheEntries: 1_000,
  flushMs: 5 * SECOND,
  sweepMs: 10 * SECOND,
  retentionMs: 30 * DAY,
  heartbeatMs: 15 * SECOND,
  reactions: DEFAULT_REACTIONS,
  trustedDevices: { enabled: true, lifeMs: 30 * DAY, maxDevices: 10 },
};

/** Receipts that say what the test says; tokens are the keys. */
export class GivenReceipts implements ReceiptAuthority {
  readonly claims = new Map<string, ReceiptClaims>();
  #next = 0;

  /** A receipt approved by TOTP for a login of `ann`, but for what is said otherwise. */
  give(claims: Partial<ReceiptClaims> = {}): string {
    const token = `receipt-${this.#next++}`;
    this.claims.set(token, {
      receiptId: `rcp-${token}`,
      realm: 'default',
      audience: claims.realm ?? 'default',
      subject: 'ann',
      sessionId: '',
      challengeId: 'chl_x',
      purpose: 'login',
      actionDigest: 'sha-256:x',
      amr: ['otp', 'mfa'],
      acr: 'aal2',
      method: 'totp',
      approvalReason: 'PROOF',
      approvedAt: 1_000,
      expiresAt: Number.MAX_SAFE_INTEGER,
      ...claims,
    });
    return token;
  }

  /** One that was approved without a proof. */
  giveUnproven(claims: Partial<ReceiptClaims> = {}): string {
    const token = this.give(claims);
    const { method, ...unproven } = this.#of(token);
    if (method !== undefined) this.claims.set(token, unproven);
    return token;
  }

  async verify(realm: string, token: string): Promise<ReceiptClaims> {
    const claims = this.claims.get(token);
    if (claims?.realm !== realm) throw new Fault('precondition', 'RECEIPT_INVALID', 'receipt: was not made here');
    return claims;
  }

  #of(token: string): ReceiptClaims {
    const claims = this.claims.get(token);
    if (!claims) throw new Error('no such receipt was given');
    return claims;
  }

  issue(): Promise<never> {
    return Promise.reject(new Error('sessions issue no receipts'));
  }

  jwks(): Promise<never> {
    return Promise.reject(new Error('sessions need no keys'));
  }
}

/** All session services on fakes, with a clock that stands still. */
export function sessionWorld(options: Partial<SessionOptions> = {}, seed = 'sessions') {
  const clock = new ManualClock();
  const random = new SeededRandom(seed);
  const metrics = new CountingMetrics();
  const log = new RecordingLog();
  const audit = new RecordingAudit();
  const store = new MemorySessionStore();
  const signals = new MemorySignals({ log });
  const receipts = new GivenReceipts();
  const ring = createKeyRing(random);
  const secrets = new AesGcmSecretBox({ ring, random });
  const claims = new RequestClaims({ clock, digest: new HmacKeyedDigest({ ring }), ttlMs: DAY });
  const trail = new Trail({ audit, clock, random, metrics, log, foldMs: MINUTE, maxFolding: 100 });
  const { dependencies, outages } = outageWorld({ trail, clock, metrics, log });
  const make = (over: SessionStore = store) =>
    new Sessions({
      store: over,
      signals,
      receipts,
      claims,
      locator: { locate: (address) => PLACES[address] },
      agents: new BowserAgentParser(),
      secrets,
      outages,
      trail,
      clock,
      random,
      metrics,
      log,
      options: { ...OPTIONS, ...options },
    });
  const sessions = make();
  const signIn = async (over: Partial<NewSession> = {}) => {
    const created = await sessions.creation.create(
      {
        realm: 'default',
        subject: 'ann',
        client: LAPTOP,
        receipt: '',
        labels: {},
        endSessionIds: [],
        rememberDevice: false,
        deviceName: '',
        requestId: '',
        ...over,
      },
      APPLICATION,
    );
    return expectCreated(created);
  };
  const isGood = async (token: string, client?: ClientContext) =>
    (await sessions.validation.validate('default', token, client, APPLICATION)) !== undefined;
  const eventTypes = () => [...store.events, ...audit.events].map(({ type }) => type);
  return {
    clock,
    metrics,
    log,
    audit,
    store,
    signals,
    receipts,
    trail,
    dependencies,
    outages,
    secrets,
    sessions,
    make,
    signIn,
    isGood,
    eventTypes,
  };
}

export function expectCreated(created: CreatedSession): Extract<CreatedSession, { readonly outcome: 'created' }> {
  if (created.outcome !== 'created') throw new Error(`expected a session, got ${created.outcome}`);
  return created;
}
