import { MemorySignals } from '#src/adapters/memory/signals.ts';
import { phoneNumbers } from '#src/adapters/phone/phone-numbers.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { SqlChallengeStore } from '#src/adapters/sql/challenge-store.ts';
import { SqlFactorStore } from '#src/adapters/sql/factor-store.ts';
import { SqlIssuedCodes } from '#src/adapters/sql/issued-code-store.ts';
import { SqlSendLedger } from '#src/adapters/sql/send-ledger.ts';
import type { EventType } from '#src/domain/audit-event.ts';
import type { Caller } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { newId } from '#src/domain/ids.ts';
import { MINUTE } from '#src/domain/time.ts';
import type { SendResult, SmsMessage, SmsReports, SmsSender } from '#src/ports/senders.ts';
import { Deliveries } from '#src/services/challenges/deliveries.ts';
import type { EnrollmentInput } from '#src/services/methods/contract.ts';
import { smsParts } from '#src/services/methods/sms.ts';
import { SmsCallbackLinks } from '#src/services/methods/sms-callback-links.ts';
import { SmsCallbacks } from '#src/services/methods/sms-callbacks.ts';
import { SmsCodes } from '#src/services/methods/sms-codes.ts';
import { SmsDelivery } from '#src/services/methods/sms-delivery.ts';
import { type SmsLimitOptions, SmsLimits } from '#src/services/methods/sms-limits.ts';
import { SmsMessages } from '#src/services/methods/sms-messages.ts';
import { SmsNumbers } from '#src/services/methods/sms-numbers.ts';
import { Trail } from '#src/services/trail.ts';
import { ManualClock, settle } from './clock.ts';
import { MemorySql } from './memory-sql.ts';
import { SeededRandom } from './random.ts';
import { RecordingAudit } from './recording-audit.ts';
import { CountingMetrics, RecordingLog } from './recording-telemetry.ts';

export const REALM = 'shop';
export const APP: Caller = { roles: new Set(['application']), name: 'grpc', correlationId: 'corr' };
export const NUMBER = '+14155552671';
export const PUBLIC_URL = 'https://auth.example';

/** A provider that answers what the test says, and keeps what would have gone out. */
export class ScriptedSender implements SmsSender {
  /** Every request to send, whatever came of it. */
  readonly asked: SmsMessage[] = [];
  /** What the next requests get; then everything is accepted. */
  readonly next: (SendResult | Promise<SendResult>)[] = [];
  always: SendResult | undefined;

  async send(message: SmsMessage): Promise<SendResult> {
    this.asked.push(message);
    const result = this.next.shift() ?? this.always;
    return result ?? { outcome: 'accepted', providerId: `SM${this.asked.length}` };
  }

  /** The code in the newest message. */
  get code(): string {
    return codeIn(this.asked.at(-1));
  }
}

export function codeIn(message: SmsMessage | undefined): string {
  const [code] = /[0-9]{6}/.exec(message?.body ?? '') ?? [];
  if (code === undefined) throw new Error('no message carries a code');
  return code;
}

const LIMITS: SmsLimitOptions = {
  maxSends: 3,
  sendWindowMs: 10 * MINUTE,
  maxPerNumberDay: 10,
  maxPerPrefixHour: 10,
  maxPerCountryHour: 1_000,
  maxPerRealmHour: 2_000,
  maxPerDay: 10_000,
  minVerifiedShare: 0.2,
  minVerifiedSends: 20,
};

export interface SmsWorldOptions extends Partial<SmsLimitOptions> {
  readonly queue?: number;
  readonly countries?: readonly string[];
  readonly publicUrl?: string;
  readonly sender?: SmsSender;
  readonly reports?: SmsReports;
  /** Another has other keys. */
  readonly seed?: string;
}

/** The SMS method over SQL stores in memory; `sidecar` makes another over the same. */
export class SmsWorld {
  readonly clock = new ManualClock();
  readonly random: SeededRandom;
  readonly audit = new RecordingAudit();
  readonly log = new RecordingLog();
  readonly metrics = new CountingMetrics();
  readonly sql = new MemorySql(this.audit.events);
  readonly challenges = new SqlChallengeStore(this.sql);
  readonly factors = new SqlFactorStore(this.sql);
  readonly issued = new SqlIssuedCodes(this.sql);
  readonly ledger = new SqlSendLedger(this.sql);
  readonly signals: MemorySignals;
  readonly box: AesGcmSecretBox;
  readonly digest: HmacKeyedDigest;
  readonly trail: Trail;
  readonly sender = new ScriptedSender();
  readonly #options: SmsWorldOptions;

  constructor(options: SmsWorldOptions = {}) {
    this.#options = options;
    this.random = new SeededRandom(options.seed ?? 'sms');
    const { clock, random, audit, metrics, log } = this;
    const ring = createKeyRing(random);
    this.box = new AesGcmSecretBox({ ring, random });
    this.digest = new HmacKeyedDigest({ ring });
    this.signals = new MemorySignals({ log });
    this.trail = new Trail({ audit, clock, random, metrics, log, foldMs: MINUTE, maxFolding: 100 });
  }

  sidecar() {
    const { clock, random, metrics, log, trail, box, digest, issued, ledger, challenges, factors, signals } = this;
    const { queue = 50, countries = ['US'], publicUrl = PUBLIC_URL, sender = this.sender, reports } = this.#options;
    const made = { clock, random, metrics, log, trail, box, digest, issued, ledger, challenges, factors };
    const numbers = new SmsNumbers({ ...made, phones: phoneNumbers, countries });
    const codes = new SmsCodes(made);
    const limits = new SmsLimits({ ...made, ...LIMITS, ...this.#options });
    const delivery = new SmsDelivery({ ...made, sender, maxWaiting: queue });
    const links = new SmsCallbackLinks({ box, publicUrl });
    const deliveries = new Deliveries({ ...made, signals });
    const messages = new SmsMessages({
      ...made,
      ...{ numbers, codes, limits, delivery, links },
      appName: 'Acme',
      templates: [],
    });
    const parts = smsParts({ ...made, numbers, codes, messages, deliveries });
    const { enrollment } = parts;
    if (!enrollment) throw new Error('SMS is enrolled by itself');
    const callbacks = reports && new SmsCallbacks({ ...made, reports, links, deliveries });
    return {
      method: parts.challenge,
      enrollment,
      mask: parts.mask,
      numbers,
      codes,
      limits,
      delivery,
      links,
      callbacks,
    };
  }

  /** A factor in use, which is in no store. */
  factor(subject: string, e164 = NUMBER, over: Partial<Factor> = {}): Factor {
    const row = { id: newId('factor', this.random.bytes(16)), realm: REALM, subject };
    const numbers = new SmsNumbers({ phones: phoneNumbers, box: this.box, log: this.log, countries: [] });
    return {
      ...row,
      method: 'sms',
      displayName: 'Phone',
      state: 'ACTIVE',
      sealedSecret: numbers.seal(row, { e164, country: 'US' }),
      lastStep: -1,
      driftSteps: 0,
      replaces: '',
      createdAt: 0,
      expiresAt: this.clock.now() + 10 * MINUTE,
      codesLeft: 0,
      ...over,
    };
  }

  /** An open challenge, stored. */
  async challenge(factors: readonly Factor[], over: Partial<Challenge> = {}): Promise<Challenge> {
    const challenge: Challenge = {
      id: newId('challenge', this.random.bytes(16)),
      realm: REALM,
      subject: factors[0]?.subject ?? '',
      sessionId: '',
      openedBy: 'grpc',
      purpose: 'action',
      action: { resource: 'accounts/42', action: 'transfer', details: new Map() },
      actionDigest: 'sha-256:x',
      sensitivity: 'sensitive',
      audience: REALM,
      state: 'PENDING',
      offers: factors.map(({ id }) => ({ method: 'sms', factorId: id, displayName: 'Phone' })),
      policyRule: 'default',
      createdAt: this.clock.now(),
      expiresAt: this.clock.now() + MINUTE,
      ...over,
    };
    await this.challenges.open({ challenge, maxOpen: 1_000, events: [] });
    return challenge;
  }

  /** The challenge as it stands in the store. */
  async read({ realm, id }: Pick<Challenge, 'realm' | 'id'>): Promise<Challenge> {
    const challenge = await this.challenges.read(realm, id);
    if (!challenge) throw new Error('the challenge is gone');
    return challenge;
  }

  /** Lets everything happen that needs no time, and a little that does. */
  async turn(ms = 0): Promise<void> {
    await settle();
    if (ms > 0) await this.clock.advanceSlowly(ms, Math.min(ms, 100));
    for (let round = 0; round < 5; round += 1) await settle();
  }

  eventsOf(type: EventType) {
    return this.audit.events.filter((event) => event.type === type);
  }

  /** Everything that is stored, as one text, for what must not be in it. */
  dump(): string {
    const tables = this.sql.db
      .prepare<[], { name: string }>(`SELECT name FROM sqlite_master WHERE type = 'table'`)
      .all()
      .map(({ name }) => this.sql.db.prepare(`SELECT * FROM ${name}`).all());
    return JSON.stringify(tables, (_, value: unknown) => {
      const bytes = value instanceof Uint8Array ? value : undefined;
      return bytes ? `${Buffer.from(bytes).toString('hex')} ${Buffer.from(bytes).toString('latin1')}` : value;
    });
  }
}

export function enrollmentInput(over: Partial<EnrollmentInput> = {}): EnrollmentInput {
  return {
    displayName: '',
    accountName: 'ada',
    phoneNumber: NUMBER,
    pushSubscriptionJson: '',
    devicePublicKey: new Uint8Array(),
    language: '',
    client: { ipAddress: '', userAgent: '', deviceId: '' },
    ...over,
  };
}
