import type { Caller } from '#src/domain/caller.ts';
import { Fault } from '#src/domain/faults.ts';
import { type PhoneNumber, prefixOf } from '#src/domain/phone-number.ts';
import type { SendLimit, SendRatio } from '#src/domain/send-window.ts';
import { DAY, type DurationMs, HOUR, MINUTE } from '#src/domain/time.ts';
import type { Clock, KeyedDigest } from '#src/ports/runtime.ts';
import type { SendLedger } from '#src/ports/send-ledger.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';
import type { EventFields, Trail } from '../trail.ts';
import { SmsAlarms } from './sms-alarms.ts';

export interface SmsLimitOptions {
  /** To one person, and to one number, within `sendWindowMs`. */
  readonly maxSends: number;
  readonly sendWindowMs: DurationMs;
  readonly maxPerNumberDay: number;
  readonly maxPerPrefixHour: number;
  readonly maxPerCountryHour: number;
  readonly maxPerRealmHour: number;
  /** The spend stop, over all realms. */
  readonly maxPerDay: number;
  /** 0 to 1; 0 switches the breaker off. */
  readonly minVerifiedShare: number;
  readonly minVerifiedSends: number;
}

export interface SmsLimitsDependencies extends SmsLimitOptions {
  readonly ledger: SendLedger;
  readonly digest: KeyedDigest;
  readonly trail: Trail;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly clock: Clock;
}

export interface PlannedSend {
  readonly realm: string;
  readonly subject: string;
  readonly number: PhoneNumber;
  /** Names what may be sent once only; absent where each asking is a send of its own. */
  readonly once?: string;
  /** For the event of a refusal. */
  readonly fields: Partial<EventFields>;
}

const ONCE = 'sms_once';
/** Nothing is said to be sent once for longer than any challenge or enrolment lives. */
const ONCE_WINDOW = HOUR;
/** People are not judged to have failed while they may still be typing. */
const GRACE = 3 * MINUTE;

const WHAT: Readonly<Record<string, string>> = {
  sms_per_person: 'messages to one person',
  sms_per_number: 'messages to one number',
  sms_per_number_day: 'messages to one number within a day',
  sms_per_prefix: 'messages to numbers of one range',
  sms_per_country: 'messages to one country',
  sms_per_realm: 'messages of one realm',
  sms_spend: 'messages within a day',
  sms_unverified: 'messages to a country from where too few codes come back',
};

/**
 * The brakes on messages (OWASP ASVS 5.0, 2.4.1): each is counted over all sidecars before it is sent. Scopes name
 * persons and numbers by keyed digests.
 */
export class SmsLimits {
  readonly #deps: SmsLimitsDependencies;
  readonly #alarms: SmsAlarms;

  constructor(deps: SmsLimitsDependencies) {
    this.#deps = deps;
    this.#alarms = new SmsAlarms(deps);
  }

  /**
   * Counts one message; `repeated` when what `once` names was sent before, and nothing is counted. Throws Fault(limited,
   * LIMIT_EXCEEDED), which is in the trail then.
   */
  async reserve(caller: Caller, send: PlannedSend): Promise<'reserved' | 'repeated'> {
    const { ledger, clock } = this.#deps;
    const { realm, number } = send;
    const now = clock.now();
    const reserved = await ledger.reserve({
      realm,
      limits: this.#limits(send),
      ratios: this.#ratios(number.country),
      now,
      events: [],
    });
    if (reserved.outcome === 'reserved') {
      await this.#tell(this.#alarms.passed(realm, number.country));
      return 'reserved';
    }
    if (reserved.name === ONCE) return 'repeated';
    throw await this.#refused(caller, send, reserved.name, reserved.retryAfterMs);
  }

  /** What `once` names was not sent after all. What was counted against the other limits stays counted. */
  async forget({ realm, once }: PlannedSend): Promise<void> {
    if (once !== undefined) await this.#deps.ledger.clear(realm, [this.#scope('once', once)]);
  }

  /** A code came back from the country. */
  async credit(realm: string, country: string): Promise<void> {
    const { ledger, minVerifiedShare } = this.#deps;
    if (minVerifiedShare > 0) await ledger.credit(realm, [`sms:verified:${country}`]);
  }

  #limits({ realm, subject, number, once }: PlannedSend): readonly SendLimit[] {
    const { maxSends, sendWindowMs, ...max } = this.#deps;
    const { e164, country } = number;
    const within = (name: string, scope: string, most: number, windowMs: DurationMs): SendLimit => ({
      scope,
      name,
      max: most,
      windowMs,
    });
    return [
      ...(once === undefined ? [] : [within(ONCE, this.#scope('once', once), 1, ONCE_WINDOW)]),
      within('sms_per_person', this.#scope('person', `${realm}\n${subject}`), maxSends, sendWindowMs),
      // A telephone and the bill are the same ones, whichever realm it is for.
      { ...within('sms_per_number', this.#scope('number', e164), maxSends, sendWindowMs), everywhere: true },
      { ...within('sms_per_number_day', this.#scope('number-day', e164), max.maxPerNumberDay, DAY), everywhere: true },
      within('sms_per_prefix', this.#scope('prefix', prefixOf(e164)), max.maxPerPrefixHour, HOUR),
      within('sms_per_country', `sms:country:${country}`, max.maxPerCountryHour, HOUR),
      within('sms_per_realm', 'sms:realm', max.maxPerRealmHour, HOUR),
      { ...within('sms_spend', 'sms:spend', max.maxPerDay, DAY), everywhere: true },
    ];
  }

  #ratios(country: string): readonly SendRatio[] {
    const { minVerifiedShare: minShare, minVerifiedSends: minSends } = this.#deps;
    if (minShare === 0) return [];
    const scope = `sms:verified:${country}`;
    return [{ scope, name: 'sms_unverified', minSends, minShare, windowMs: HOUR, graceMs: GRACE }];
  }

  async #refused(caller: Caller, send: PlannedSend, name: string, retryAfterMs: DurationMs): Promise<Fault> {
    const { trail, metrics } = this.#deps;
    const { realm, subject, number, fields } = send;
    metrics.sms('limited', name);
    const event = { realm, subject, method: 'sms', ...fields, outcome: 'REFUSED', reason: 'LIMIT_EXCEEDED' } as const;
    trail.refused(trail.draft('limit.hit', caller, { ...event, facts: { limit: name } }));
    if (name === 'sms_spend' || name === 'sms_unverified') {
      const [country, windowMs] = name === 'sms_spend' ? ['', DAY] : [number.country, HOUR];
      await this.#tell(this.#alarms.refused({ realm, name, country, windowMs }, retryAfterMs));
    }
    return new Fault('limited', 'LIMIT_EXCEEDED', `too many ${WHAT[name] ?? 'messages'}; offer another method`, {
      retryAfterMs,
      metadata: { limit: name },
      quota: { subject: name, description: `bounds the ${WHAT[name] ?? 'messages'}` },
    });
  }

  /** An alarm that cannot be raised is no reason to do anything else otherwise. */
  async #tell(alarm: Promise<void>): Promise<void> {
    await alarm.catch((error: unknown) =>
      this.#deps.log.warn('an alarm about SMS could not be recorded', { error: String(error) }),
    );
  }

  #scope(kind: string, value: string): string {
    const digest = this.#deps.digest.digest(`sms.${kind}`, value);
    return `sms:${kind}:${Buffer.from(digest).toString('base64url')}`;
  }
}
