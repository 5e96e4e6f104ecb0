import { createHash } from 'node:crypto';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { SqlAttemptStore } from '#src/adapters/sql/attempt-store.ts';
import { SqlChallengeStore } from '#src/adapters/sql/challenge-store.ts';
import { SqlFactorStore } from '#src/adapters/sql/factor-store.ts';
import { actionDigest } from '#src/domain/action.ts';
import type { EventDraft, EventType } from '#src/domain/audit-event.ts';
import type { Caller } from '#src/domain/caller.ts';
import { actionOf, type FactorChange } from '#src/domain/factor-change.ts';
import { Fault } from '#src/domain/faults.ts';
import { newId } from '#src/domain/ids.ts';
import type { Session } from '#src/domain/session.ts';
import { DAY, HOUR, MINUTE } from '#src/domain/time.ts';
import { codeAt, stepAt } from '#src/domain/totp.ts';
import type { SlowHash } from '#src/ports/runtime.ts';
import type { ReceiptAuthority, ReceiptClaims, SessionAuthority } from '#src/services/contracts.ts';
import { BackupCodeSets } from '#src/services/factors/backup-code-sets.ts';
import type { ConfirmCommand } from '#src/services/factors/confirmation.ts';
import type { BeginCommand } from '#src/services/factors/enrollment.ts';
import { type FactorServiceOptions, factorServices } from '#src/services/factors/factors.ts';
import { TotpSeeds } from '#src/services/factors/totp-seeds.ts';
import { Lanes } from '#src/services/lanes.ts';
import { backupCodeParts } from '#src/services/methods/backup-code.ts';
import type { MethodParts } from '#src/services/methods/contract.ts';
import { MethodRegistry } from '#src/services/methods/registry.ts';
import { type TotpOptions, totpParts } from '#src/services/methods/totp.ts';
import { RequestClaims } from '#src/services/request-claims.ts';
import { Trail } from '#src/services/trail.ts';
import { ManualClock } from './clock.ts';
import { MemorySql } from './memory-sql.ts';
import { shippedPolicy } from './policies.ts';
import { SeededRandom } from './random.ts';
import { RecordingAudit } from './recording-audit.ts';
import { CountingMetrics, RecordingLog } from './recording-telemetry.ts';

export const REALM = 'shop';
export const APP: Caller = { roles: new Set(['application']), name: 'grpc', correlationId: 'corr' };
export const LAPTOP = { ipAddress: '203.0.113.7', userAgent: 'Firefox', deviceId: 'laptop' };

/** An authenticator, with consent and nothing that would permit it. */
export const BEGIN: Omit<BeginCommand, 'subject'> = {
  realm: REALM,
  method: 'totp',
  displayName: 'Phone',
  sessionToken: '',
  receipt: '',
  replaces: '',
  consent: { textVersion: '2026-11', language: 'en' },
  accountName: '',
  phoneNumber: '',
  pushSubscriptionJson: '',
  devicePublicKey: new Uint8Array(),
  temporaryPass: '',
  language: '',
  client: LAPTOP,
  requestId: '',
};

/** Quick, and counts what a slow hash would cost. */
export class CountingHash implements SlowHash {
  count = 0;

  async hash(value: Uint8Array, salt: Uint8Array): Promise<Uint8Array> {
    this.count += 1;
    await Promise.resolve();
    return new Uint8Array(createHash('sha256').update(salt).update(value).digest());
  }
}

export interface FactorWorldOptions extends Partial<FactorServiceOptions>, Partial<TotpOptions> {
  /** Methods besides authenticators and backup codes. */
  readonly parts?: readonly MethodParts[];
}

/** All services of factors over SQL stores in memory, with sessions and receipts that say what the test says. */
export class FactorWorld {
  readonly clock = new ManualClock();
  readonly random: SeededRandom;
  readonly audit = new RecordingAudit();
  readonly log = new RecordingLog();
  readonly metrics = new CountingMetrics();
  readonly slowHash = new CountingHash();
  readonly sql = new MemorySql(this.audit.events);
  readonly factors = new SqlFactorStore(this.sql);
  readonly attempts = new SqlAttemptStore(this.sql);
  readonly challenges = new SqlChallengeStore(this.sql);
  readonly box: AesGcmSecretBox;
  readonly digest: HmacKeyedDigest;
  readonly methods: MethodRegistry;
  readonly services: ReturnType<typeof factorServices>;
  readonly #sessions = new Map<string, Session>();
  readonly #receipts = new Map<string, ReceiptClaims>();

  constructor(options: FactorWorldOptions = {}, seed = 'factors') {
    this.random = new SeededRandom(seed);
    const { clock, random, audit, metrics, log, factors, attempts, slowHash } = this;
    const ring = createKeyRing(random);
    const digest = new HmacKeyedDigest({ ring });
    this.digest = digest;
    this.box = new AesGcmSecretBox({ ring, random });
    const sessions: SessionAuthority = { authenticate: async (_, token) => this.#sessions.get(token) };
    const receipts: ReceiptAuthority = {
      verify: async (_, token) => this.#verify(token),
      issue: () => Promise.reject(new Error('factors issue no receipts')),
      jwks: () => Promise.reject(new Error('factors need no keys')),
    };
    const backupCodes = new BackupCodeSets({ factors, digest, slowHash, random });
    const seeds = new TotpSeeds({ box: this.box, random, log });
    const { issuer = 'Acme', totpWindow = 1, resyncReach = 20, parts = [], ...others } = options;
    this.methods = new MethodRegistry([
      totpParts({ seeds, issuer, totpWindow, resyncReach, log }),
      backupCodeParts({ backupCodes }),
      ...parts,
    ]);
    this.services = factorServices({
      options: {
        firstFactorMaxSessionAgeMs: 15 * MINUTE,
        enrollmentTtlMs: 10 * MINUTE,
        maxFactors: 4,
        requiredMethods: ['totp'],
        policy: shippedPolicy(),
        budget: { shortAttempts: 5, shortLockMs: 15 * MINUTE, hardAttempts: 100 },
        ...others,
      },
      factors,
      attempts,
      sessions,
      receipts,
      box: this.box,
      digest,
      methods: this.methods,
      backupCodes,
      claims: new RequestClaims({ clock, digest, ttlMs: DAY }),
      lanes: new Lanes({ maxWaiting: 1_000 }),
      trail: new Trail({ audit, clock, random, metrics, log, foldMs: MINUTE, maxFolding: 1_000 }),
      clock,
      random,
      metrics,
    });
  }

  /** A session token of the person, as old as said. */
  signIn(subject: string, ageMs = 0): string {
    const id = newId('session', this.random.bytes(16));
    const createdAt = this.clock.now() - ageMs;
    this.#sessions.set(`token-${id}`, {
      id,
      realm: REALM,
      subject,
      tokenDigest: '',
      device: { ...LAPTOP, browser: '', operatingSystem: '' },
      amr: [],
      acr: 'aal1',
      createdAt,
      lastUsedAt: createdAt,
      expiresAt: createdAt + DAY,
      idleMs: HOUR,
      labels: {},
    });
    return `token-${id}`;
  }

  /** A receipt for the change, proven by TOTP, but for what is said otherwise. */
  receiptFor(subject: string, change: FactorChange, over: Partial<ReceiptClaims> = {}): string {
    const receiptId = newId('receipt', this.random.bytes(16));
    this.#receipts.set(`jwt-${receiptId}`, {
      receiptId,
      realm: REALM,
      audience: REALM,
      subject,
      sessionId: '',
      challengeId: newId('challenge', this.random.bytes(16)),
      purpose: 'factor_change',
      actionDigest: actionDigest(REALM, subject, actionOf(change)),
      amr: ['otp', 'mfa'],
      acr: 'aal2',
      method: 'totp',
      approvalReason: 'PROOF',
      approvedAt: this.clock.now(),
      expiresAt: this.clock.now() + 5 * MINUTE,
      ...over,
    });
    return `jwt-${receiptId}`;
  }

  /** The same receipt as if it had been approved without a proof. */
  withoutProof(token: string): string {
    const claims = this.#receipts.get(token);
    if (!claims) throw new Error('no such receipt was given');
    const { method: _, ...unproven } = claims;
    this.#receipts.set(token, { ...unproven, approvalReason: 'MFA_DISABLED' });
    return token;
  }

  /** An enrolment of an authenticator. */
  async begin(over: Partial<BeginCommand> & { readonly subject: string }) {
    const { material, ...begun } = await this.beginAny(over);
    if (material.kind !== 'totp') throw new Error('that is no authenticator');
    return { ...begun, keyUri: material.keyUri, manualKey: material.manualKey };
  }

  /** An enrolment by whatever method. */
  beginAny(over: Partial<BeginCommand> & { readonly subject: string }) {
    return this.services.enrollment.begin(APP, { ...BEGIN, ...over });
  }

  confirm({
    code,
    ...over
  }: Pick<ConfirmCommand, 'subject' | 'factorId'> & Partial<ConfirmCommand> & { readonly code: string }) {
    return this.confirmAny({ ...over, proof: { kind: 'code', code } });
  }

  confirmAny(over: Pick<ConfirmCommand, 'subject' | 'factorId' | 'proof'> & Partial<ConfirmCommand>) {
    return this.services.confirmation.confirm(APP, { realm: REALM, client: LAPTOP, requestId: '', ...over });
  }

  /** The code of a seed typed from its manual key, `steps` steps from now. */
  code(manualKey: string, steps = 0): string {
    return codeAt(decodeBase32(manualKey), stepAt(this.clock.now()) + steps);
  }

  /** Somebody with a confirmed authenticator and ten codes. */
  async enrolled(subject: string) {
    const begun = await this.begin({ subject, sessionToken: this.signIn(subject) });
    const code = this.code(begun.manualKey);
    const confirmed = await this.confirm({ subject, factorId: begun.factor.id, code });
    this.clock.advance(2 * MINUTE);
    return { subject, factorId: begun.factor.id, manualKey: begun.manualKey, backupCodes: confirmed.backupCodes };
  }

  eventsOf(type: EventType): readonly EventDraft[] {
    return this.audit.events.filter((event) => event.type === type);
  }

  /** `reason` of the newest event of the type. */
  lastReason(type: EventType): string | undefined {
    return this.eventsOf(type).at(-1)?.reason;
  }

  #verify(token: string): ReceiptClaims {
    const claims = this.#receipts.get(token);
    if (claims && claims.expiresAt > this.clock.now()) return claims;
    throw new Fault('precondition', 'RECEIPT_INVALID', 'receipt: was not made here, or is over');
  }
}

/** RFC 4648 base32 in groups, as people type it. */
export function decodeBase32(text: string): Uint8Array {
  const bits = [...text.replaceAll(' ', '')]
    .map((symbol) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(symbol).toString(2).padStart(5, '0'))
    .join('');
  return Uint8Array.from(bits.match(/.{8}/g) ?? [], (byte) => Number.parseInt(byte, 2));
}
