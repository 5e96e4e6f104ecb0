import { onTestFinished } from 'vitest';
import type { LocalStorage } from '#src/adapters/local/client.ts';
import { MemorySignals } from '#src/adapters/memory/signals.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import type { Caller } from '#src/domain/caller.ts';
import { consentBinding, type Factor, secretBinding } from '#src/domain/factor.ts';
import { DAY, HOUR, MINUTE } from '#src/domain/time.ts';
import { deviceBinding } from '#src/domain/trusted-device.ts';
import type { BackupCodeSet, FactorProof } from '#src/ports/factor-store.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { SubjectStore } from '#src/ports/subject-store.ts';
import { privacyServices } from '#src/services/privacy/privacy.ts';
import { RequestClaims } from '#src/services/request-claims.ts';
import { SessionCache } from '#src/services/sessions/session-cache.ts';
import { SessionEndings } from '#src/services/sessions/session-endings.ts';
import { Trail } from '#src/services/trail.ts';
import { ManualClock } from './clock.ts';
import { newDirectory, openTestStorage, TEST_RING } from './local-stores.ts';
import { SeededRandom } from './random.ts';
import { CountingMetrics, RecordingLog } from './recording-telemetry.ts';
import { challengeOf, createOf, eventOf, factorOf, id, person, REALM, sessionOf } from './store-samples.ts';

export const APPLICATION: Caller = { roles: new Set(['application']), name: 'http', correlationId: 'corr-app' };
export const OPERATOR: Caller = { roles: new Set(['operator']), name: 'grpc', correlationId: 'corr-operator' };
export const HOME = { ipAddress: '203.0.113.77', userAgent: 'Firefox of ann', deviceId: 'laptop-of-ann' };

const utf8 = (text: string) => Buffer.from(text, 'utf8');

/** The stores that an erasure goes through, to be put in place of the real ones. */
export interface PrivacySeams {
  readonly subjects?: (real: SubjectStore) => Partial<SubjectStore>;
  readonly sessions?: (real: SessionStore) => Partial<SessionStore>;
  readonly maxBytes?: number;
}

/** The privacy services over the real local files, worker and all. Gone after the test. */
export async function privacyWorld(seams: PrivacySeams = {}) {
  const directory = newDirectory();
  onTestFinished(() => directory[Symbol.dispose]());
  let storage = await openTestStorage(directory.path);
  onTestFinished(() => storage[Symbol.asyncDispose]());
  const clock = new ManualClock();
  const random = new SeededRandom('privacy');
  const box = new AesGcmSecretBox({ ring: TEST_RING, random });
  const log = new RecordingLog();
  const compose = (stores: LocalStorage) => {
    const metrics = new CountingMetrics();
    const signals = new MemorySignals({ log });
    const digest = new HmacKeyedDigest({ ring: TEST_RING });
    const trail = new Trail({ audit: stores.audit, clock, random, metrics, log, foldMs: MINUTE, maxFolding: 100 });
    const sessions = { ...stores.sessions, ...seams.sessions?.(stores.sessions) };
    const endings = new SessionEndings({
      store: sessions,
      cache: new SessionCache(signals, 10),
      signals,
      trail,
      metrics,
      clock,
    });
    const privacy = privacyServices({
      ...stores,
      sessions,
      subjects: { ...stores.subjects, ...seams.subjects?.(stores.subjects) },
      endings,
      claims: new RequestClaims({ clock, digest, ttlMs: DAY }),
      box,
      digest,
      trail,
      clock,
      random,
      maxBytes: seams.maxBytes ?? 64 * 1024 * 1024,
    });
    return { ...privacy, stores, trail };
  };
  let live = compose(storage);
  return {
    clock,
    box,
    log,
    directory: directory.path,
    get consents() {
      return live.consents;
    },
    get subjectExport() {
      return live.subjectExport;
    },
    get erasure() {
      return live.erasure;
    },
    get stores() {
      return live.stores;
    },
    get trail() {
      return live.trail;
    },
    /** As after a stop and a start. */
    async restart() {
      await storage[Symbol.asyncDispose]();
      storage = await openTestStorage(directory.path);
      live = compose(storage);
    },
  };
}

export type PrivacyWorld = Awaited<ReturnType<typeof privacyWorld>>;

/** Texts that must be in an export, and ones that must never be. */
export interface Planted {
  readonly subject: string;
  readonly own: readonly string[];
  readonly secrets: readonly string[];
  readonly factors: readonly string[];
}

/** Puts something into every table that can hold something of a person. */
export async function settle(world: PrivacyWorld, subject = person()): Promise<Planted> {
  const { stores, box, clock } = world;
  const now = clock.now();
  const mark = subject.slice(-6);
  const phone = '+14155550199';
  const seed = `seed-of-${mark}`;
  const endpoint = `https://push.example/send/capability-${mark}`;
  const push = JSON.stringify({ endpoint, p256dh: `point-${mark}`, auth: `auth-${mark}`, key: `device-key-${mark}` });
  const credential = JSON.stringify({ id: `credential-of-${mark}`, publicKey: `cose-${mark}` });
  const factors = [];
  for (const [method, secret] of [
    ['totp', seed],
    ['sms', phone],
    ['push', push],
    ['webauthn', credential],
  ] as const) {
    const bare = factorOf({ realm: REALM, subject, method, displayName: `${method} of ${mark}`, createdAt: now });
    const { id: consentId } = { id: id('consent') };
    const factor = { ...bare, expiresAt: now + HOUR, sealedSecret: box.seal(utf8(secret), secretBinding(bare)) };
    const begun = await stores.factors.begin({
      factor,
      consent: {
        id: consentId,
        method,
        textVersion: `text-${mark}`,
        language: 'sv',
        grantedAt: now,
        sealedAddress: box.seal(utf8(HOME.ipAddress), consentBinding(REALM, subject, consentId)),
      },
      firstOnly: false,
      maxFactors: 10,
      now,
      events: [eventOf('factor.enrollment_begun', { subject, factorId: factor.id, at: now })],
    });
    if (begun.outcome !== 'begun') throw new Error(begun.outcome);
    factors.push(factor.id);
    const confirmed = await stores.factors.confirm({
      realm: REALM,
      subject,
      factorId: factor.id,
      proof: await proofOf(world, factor),
      backupCodes: codesOf(subject, mark, now),
      now,
      events: [eventOf('factor.enrolled', { subject, factorId: factor.id, at: now, ...connection() })],
      replacedEvents: [],
      backupEvents: [],
    });
    if (confirmed.outcome !== 'confirmed') throw new Error(confirmed.outcome);
  }
  const live = sessionOf({
    subject,
    createdAt: now,
    lastUsedAt: now,
    expiresAt: now + DAY,
    tokenDigest: `session-digest-${mark}`,
    device: { ...sessionOf().device, ...HOME },
    labels: { ward: `label-${mark}` },
  });
  await stores.sessions.create(createOf(live));
  const ended = sessionOf({ subject, createdAt: now - 1, lastUsedAt: now, expiresAt: now + DAY });
  await stores.sessions.create(createOf(ended));
  await stores.sessions.end({
    realm: REALM,
    target: { kind: 'ids', sessionIds: [ended.id] },
    reason: 'LOGOUT',
    now,
    event: eventOf('session.ended', { at: now }),
  });
  const device = { id: id('code').replace('bkc', 'dev'), realm: REALM, subject };
  await stores.devices.trust({
    device: {
      ...device,
      tokenDigest: `device-digest-${mark}`,
      displayName: `tablet of ${mark}`,
      sealedConnection: box.seal(utf8(JSON.stringify({ ...live.device })), deviceBinding(device)),
      createdAt: now,
      lastUsedAt: now,
      expiresAt: now + 30 * DAY,
    },
    maxDevices: 5,
    now,
    events: [eventOf('device.trusted', { subject, at: now })],
  });
  const challenge = challengeOf({
    subject,
    sessionId: live.id,
    action: { resource: `accounts/${mark}`, action: 'transfer', details: new Map([['payee', `payee-${mark}`]]) },
    createdAt: now,
    expiresAt: now + MINUTE,
  });
  await stores.challenges.open({ challenge, maxOpen: 5, events: [eventOf('challenge.opened', { subject, at: now })] });
  await stores.codes.issue({
    realm: REALM,
    subject,
    bearerId: challenge.id,
    method: 'sms',
    factorId: factors[1] ?? '',
    digest: utf8(`code-digest-${mark}`),
    sealed: new Uint8Array(),
    issuedAt: now,
    expiresAt: now + MINUTE,
  });
  await stores.attempts.spend({
    realm: REALM,
    subject,
    limits: { shortAttempts: 5, shortLockMs: MINUTE, hardAttempts: 100 },
    now,
  });
  return {
    subject,
    own: [subject, phone, HOME.ipAddress, HOME.userAgent, `tablet of ${mark}`, `label-${mark}`, `payee-${mark}`],
    secrets: [seed, `capability-${mark}`, `point-${mark}`, `auth-${mark}`, `device-key-${mark}`, `cose-${mark}`].concat(
      [`sel-${mark}`, `salt-${mark}`, `hash-${mark}`, `session-digest-${mark}`, `device-digest-${mark}`],
      [`code-digest-${mark}`],
    ),
    factors,
  };
}

function codesOf(subject: string, mark: string, now: number): BackupCodeSet {
  const set = factorOf({
    realm: REALM,
    subject,
    method: 'backup_code',
    state: 'ACTIVE',
    confirmedAt: now,
    createdAt: now,
  });
  return {
    factor: { ...set, codesLeft: 1, sealedSecret: new Uint8Array() },
    codes: [{ id: id('code'), selector: `sel-${mark}`, salt: utf8(`salt-${mark}`), hash: utf8(`hash-${mark}`) }],
  };
}

async function proofOf({ stores, clock }: PrivacyWorld, factor: Factor): Promise<FactorProof> {
  const { subject, method, sealedSecret } = factor;
  if (method === 'totp') return { kind: 'totp', step: 1, driftSteps: 0 };
  if (method !== 'sms') return { kind: 'made', sealedSecret, uniqueDigest: utf8(factor.id), signCount: 0 };
  const now = clock.now();
  const digest = utf8(`enrolment of ${subject}`);
  const issued = { issuedAt: now, expiresAt: now + MINUTE, sealed: new Uint8Array() };
  await stores.codes.issue({
    realm: REALM,
    subject,
    bearerId: factor.id,
    method,
    factorId: factor.id,
    digest,
    ...issued,
  });
  return { kind: 'issued', digest };
}

function connection() {
  return { ipAddress: HOME.ipAddress, userAgent: HOME.userAgent };
}

/** A whole export as text. */
export async function exportOf(world: PrivacyWorld, subject: string, caller = APPLICATION): Promise<string> {
  const pieces: Uint8Array[] = [];
  const signal = new AbortController().signal;
  for await (const piece of world.subjectExport.export(caller, { realm: REALM, subject }, signal)) pieces.push(piece);
  return Buffer.concat(pieces).toString('utf8');
}
