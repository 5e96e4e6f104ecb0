import { MemorySignals } from '#src/adapters/memory/signals.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { SqlAttemptStore } from '#src/adapters/sql/attempt-store.ts';
import { SqlChallengeStore } from '#src/adapters/sql/challenge-store.ts';
import { SqlFactorStore } from '#src/adapters/sql/factor-store.ts';
import { SqlIssuedCodes } from '#src/adapters/sql/issued-code-store.ts';
import { SqlSendLedger } from '#src/adapters/sql/send-ledger.ts';
import { actionDigest } from '#src/domain/action.ts';
import type { EventDraft, EventType } from '#src/domain/audit-event.ts';
import { type Caller, NO_CLIENT } from '#src/domain/caller.ts';
import type { Challenge, Delivery } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { newId } from '#src/domain/ids.ts';
import type { PushDigits } from '#src/domain/push-number.ts';
import { DAY, HOUR, MINUTE, SECOND } from '#src/domain/time.ts';
import type { PushMessage, PushResult, PushSender } from '#src/ports/senders.ts';
import { ChallengeAccess } from '#src/services/challenges/challenge-access.ts';
import { ChallengeEndings } from '#src/services/challenges/challenge-endings.ts';
import { Deliveries } from '#src/services/challenges/deliveries.ts';
import { Denials } from '#src/services/challenges/denials.ts';
import { RepeatedAnswers } from '#src/services/challenges/repeated-answers.ts';
import { Verification } from '#src/services/challenges/verification.ts';
import { BackupCodeSets } from '#src/services/factors/backup-code-sets.ts';
import { Confirmation } from '#src/services/factors/confirmation.ts';
import { FactorProofChecker } from '#src/services/factors/proof-checker.ts';
import { Lanes } from '#src/services/lanes.ts';
import type { EnrollmentInput, EnrollmentMaterial } from '#src/services/methods/contract.ts';
import { Push, type PushOptions } from '#src/services/methods/push.ts';
import { PushTickets } from '#src/services/methods/push-tickets.ts';
import { MethodRegistry } from '#src/services/methods/registry.ts';
import { RequestClaims } from '#src/services/request-claims.ts';
import { Trail } from '#src/services/trail.ts';
import { ManualClock, settle } from './clock.ts';
import { CountingHash } from './factor-world.ts';
import { MemorySql } from './memory-sql.ts';
import { SeededRandom } from './random.ts';
import { RecordingAudit } from './recording-audit.ts';
import { CountingMetrics, RecordingLog } from './recording-telemetry.ts';
import { SoftwarePushDevice } from './software-push-device.ts';

export const REALM = 'shop';
export const APP: Caller = { roles: new Set(['application']), name: 'grpc', correlationId: 'corr' };
export const VISIT = {
  caller: { roles: new Set(['portal']), name: 'public', correlationId: 'corr-public' } satisfies Caller,
  client: NO_CLIENT,
};
const BUDGET = { shortAttempts: 5, shortLockMs: 15 * MINUTE, hardAttempts: 100 };

/** Answers what the test has scripted, and keeps what it was given. */
export class ScriptedPushSender implements PushSender {
  readonly sent: PushMessage[] = [];
  readonly script: (PushResult | 'hang')[] = [];
  /** Answers the sends that hang, in order. */
  readonly hanging: ((result: PushResult) => void)[] = [];
  always: PushResult = { outcome: 'accepted', providerId: '' };

  async send(message: PushMessage): Promise<PushResult> {
    this.sent.push(message);
    const next = this.script.shift() ?? this.always;
    await Promise.resolve();
    return next === 'hang' ? new Promise((resolve) => this.hanging.push(resolve)) : next;
  }

  async publicKey(): Promise<string> {
    return 'B'.repeat(87);
  }

  refusal(endpoint: string): string | undefined {
    return endpoint.startsWith('https://push.example.com/')
      ? undefined
      : 'is at no push service that the settings name';
  }

  payloads(): readonly string[] {
    return this.sent.map(({ payload }) => Buffer.from(payload).toString('utf8'));
  }
}

/** A device of a person, enrolled. */
export interface Enrolled {
  readonly subject: string;
  readonly factor: Factor;
  readonly device: SoftwarePushDevice;
}

export interface PushWorldOptions {
  readonly limits?: PushOptions['limits'];
  readonly digits?: PushDigits;
}

/** Push over the SQL stores in memory, with the engine that verifies answers; as many sidecars over it as a test wants. */
export class PushWorld {
  readonly clock = new ManualClock();
  readonly random = new SeededRandom('push');
  readonly audit = new RecordingAudit();
  readonly log = new RecordingLog();
  readonly metrics = new CountingMetrics();
  readonly sender = new ScriptedPushSender();
  readonly sql = new MemorySql(this.audit.events);
  readonly factors = new SqlFactorStore(this.sql);
  readonly challenges = new SqlChallengeStore(this.sql);
  readonly attempts = new SqlAttemptStore(this.sql);
  readonly codes = new SqlIssuedCodes(this.sql);
  readonly ledger = new SqlSendLedger(this.sql);
  readonly signals = new MemorySignals({ log: this.log });
  readonly trail: Trail;
  readonly sidecar: ReturnType<PushWorld['another']>;
  readonly #ring = createKeyRing(this.random);
  readonly #options: PushWorldOptions;

  constructor(options: PushWorldOptions = {}) {
    this.#options = options;
    const { audit, clock, random, metrics, log } = this;
    this.trail = new Trail({ audit, clock, random, metrics, log, foldMs: MINUTE, maxFolding: 1_000 });
    this.sidecar = this.another();
  }

  /** A sidecar with a memory of its own over the same stores and the same sender. */
  another(realms: readonly string[] = [REALM]) {
    const { sender, factors, challenges, attempts, codes, ledger, signals, trail, metrics, clock, random, log } = this;
    const [box, digest] = [
      new AesGcmSecretBox({ ring: this.#ring, random }),
      new HmacKeyedDigest({ ring: this.#ring }),
    ];
    const deliveries = new Deliveries({ challenges, trail, signals, metrics, clock });
    const push = new Push({
      options: {
        digits: this.#options.digits ?? 2,
        limits: this.#options.limits ?? { maxPerWindow: 3, maxUnanswered: 10 },
        publicUrl: 'https://id.example.com',
        realms,
      },
      ...{ sender, factors, codes, ledger, deliveries, box, digest, trail, metrics, clock, random, log },
    });
    const methods = new MethodRegistry([push.parts]);
    const endings = new ChallengeEndings({ challenges, trail, signals, metrics, clock });
    const claims = new RequestClaims({ clock, digest, ttlMs: HOUR });
    const lanes = new Lanes({ maxWaiting: 256 });
    const sessions = { authenticate: async () => undefined };
    const verification = new Verification({
      access: new ChallengeAccess({ challenges, sessions, endings, trail }),
      ...{ endings, challenges, attempts, claims, lanes, trail, metrics, clock, random },
      denials: new Denials({ endings, factors, trail, metrics, log }),
      checker: new FactorProofChecker({ factors, methods }),
      repeats: new RepeatedAnswers({ max: 100 }),
      budget: BUDGET,
      receiptLifeMs: 2 * MINUTE,
    });
    const backupCodes = new BackupCodeSets({ factors, digest, slowHash: new CountingHash(), random });
    const confirmation = new Confirmation({
      ...{ factors, attempts, methods, backupCodes, box, claims, lanes, trail, metrics, clock },
      budget: BUDGET,
    });
    const { challenge: method, enrollment } = push.parts;
    if (!enrollment) throw new Error('push is enrolled by itself');
    const devices = push.devices({ challenges, confirmation, verification });
    const tickets = new PushTickets({ factors, digest, clock, realms });
    return { push, method, enrollment, verification, confirmation, devices, tickets };
  }

  /** A pending factor, prepared and stored as BeginEnrollment does; `device` undefined asks for a link. */
  async begin(subject: string, device: SoftwarePushDevice | undefined, over: Partial<EnrollmentInput> = {}) {
    const { clock, random, factors } = this;
    const now = clock.now();
    const row = { id: newId('factor', random.bytes(16)), realm: REALM, subject };
    const input = inputOf({
      pushSubscriptionJson: device?.subscriptionJson ?? '',
      devicePublicKey: device?.publicKey ?? new Uint8Array(),
      ...over,
    });
    const prepared = await this.sidecar.enrollment.prepare(row, input);
    const factor: Factor = {
      ...row,
      ...prepared,
      method: 'push',
      displayName: 'Browser',
      state: 'PENDING',
      lastStep: -1,
      driftSteps: 0,
      replaces: '',
      createdAt: now,
      expiresAt: now + 10 * MINUTE,
      codesLeft: 0,
    };
    const consent = {
      id: newId('consent', random.bytes(16)),
      method: 'push',
      textVersion: '1',
      language: 'en',
    } as const;
    const begun = await factors.begin({
      factor,
      consent: { ...consent, grantedAt: now },
      firstOnly: false,
      maxFactors: 10,
      now,
      events: [],
    });
    if (begun.outcome !== 'begun') throw new Error(begun.outcome);
    const material = await this.sidecar.enrollment.material(APP, factor, input, false);
    return { factor, material };
  }

  confirm(factor: Factor, signature: Uint8Array, subject = factor.subject) {
    const proof = { kind: 'push', signature } as const;
    const command = { realm: REALM, subject, factorId: factor.id, proof, client: NO_CLIENT, requestId: '' };
    return this.sidecar.confirmation.confirm(APP, command);
  }

  async enroll(subject: string, device = new SoftwarePushDevice()): Promise<Enrolled> {
    const { factor, material } = await this.begin(subject, device);
    await this.confirm(factor, device.sign(bytesOf(material)));
    return { subject, factor: await this.factor(factor.id), device };
  }

  async factor(factorId: string): Promise<Factor> {
    const factor = await this.factors.read(REALM, factorId);
    if (!factor) throw new Error('no such factor');
    return factor;
  }

  /** An open challenge that offers these devices, with push chosen. */
  async open(subject: string, offered: readonly Enrolled[], over: Partial<Challenge> = {}): Promise<Challenge> {
    const now = this.clock.now();
    const action = {
      resource: 'accounts/42',
      action: 'transfer.create',
      details: new Map([
        ['amount', '900 EUR'],
        ['to', 'Eve'],
      ]),
    };
    const challenge: Challenge = {
      id: newId('challenge', this.random.bytes(16)),
      realm: REALM,
      subject,
      sessionId: 'ses_1',
      openedBy: 'grpc',
      purpose: 'action',
      action,
      actionDigest: actionDigest(REALM, subject, action),
      sensitivity: 'critical',
      audience: REALM,
      state: 'PENDING',
      offers: offered.map(({ factor }) => ({ method: 'push', factorId: factor.id, displayName: 'Browser' })),
      chosenMethod: 'push',
      policyRule: 'test',
      createdAt: now,
      expiresAt: now + MINUTE,
      ...over,
    };
    const opened = await this.challenges.open({ challenge, maxOpen: 100, events: [] });
    if (opened.outcome !== 'opened') throw new Error(opened.outcome);
    return challenge;
  }

  prompt(challenge: Challenge, { factor }: Enrolled, again = false, sidecar = this.sidecar) {
    return sidecar.method.prompt(APP, challenge, factor, again);
  }

  /** Opened, chosen and delivered; with the number that the application shows. */
  async prompted(enrolled: Enrolled, over: Partial<Challenge> = {}) {
    const challenge = await this.open(enrolled.subject, [enrolled], over);
    const { number = '' } = await this.prompt(challenge, enrolled);
    await settle();
    return { challenge, number, at: atOf(challenge, enrolled) };
  }

  async read(challenge: Challenge): Promise<Challenge> {
    const read = await this.challenges.read(REALM, challenge.id);
    if (!read) throw new Error('no such challenge');
    return read;
  }

  async deliveryOf(challenge: Challenge): Promise<Pick<Delivery, 'status' | 'reason' | 'resendable'> | undefined> {
    const { delivery } = await this.read(challenge);
    return delivery && { status: delivery.status, reason: delivery.reason, resendable: delivery.resendable };
  }

  async failures(subject: string): Promise<number> {
    return (await this.attempts.read(REALM, subject)).consecutive;
  }

  eventsOf(type: EventType): readonly EventDraft[] {
    return this.audit.events.filter((event) => event.type === type);
  }

  /** Moves the clock by as much as a day holds, for caps. */
  passDay(): void {
    this.clock.advance(DAY + SECOND);
  }
}

export function atOf(challenge: Challenge, { factor }: Enrolled) {
  return { realm: challenge.realm, challengeId: challenge.id, factorId: factor.id };
}

export function bytesOf(material: EnrollmentMaterial): Uint8Array {
  if (material.kind !== 'push_challenge') throw new Error(`is ${material.kind}`);
  return material.bytes;
}

/** The ticket in a link. */
export function ticketOf(material: EnrollmentMaterial): string {
  if (material.kind !== 'push_link') throw new Error(`is ${material.kind}`);
  return material.url.slice(material.url.indexOf('#') + 1);
}

export function inputOf(over: Partial<EnrollmentInput>): EnrollmentInput {
  return {
    displayName: '',
    accountName: 'ann',
    phoneNumber: '',
    pushSubscriptionJson: '',
    devicePublicKey: new Uint8Array(),
    language: '',
    client: NO_CLIENT,
    ...over,
  };
}
