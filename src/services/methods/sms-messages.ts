import type { Caller } from '#src/domain/caller.ts';
import type { Factor } from '#src/domain/factor.ts';
import { Fault } from '#src/domain/faults.ts';
import { newId } from '#src/domain/ids.ts';
import type { SmsFailure } from '#src/domain/sms-failure.ts';
import { type SmsTemplate, smsText, templateFor, templatesFrom } from '#src/domain/sms-text.ts';
import type { Clock, Random } from '#src/ports/runtime.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { EventFields } from '../trail.ts';
import type { SmsCallbackLinks } from './sms-callback-links.ts';
import type { CodeBearer, SmsCodes } from './sms-codes.ts';
import { SHORTEST_LIFE, type SmsDelivery, type SmsWord } from './sms-delivery.ts';
import type { PlannedSend, SmsLimits } from './sms-limits.ts';
import type { SmsNumbers } from './sms-numbers.ts';

export interface SmsMessagesDependencies {
  readonly numbers: SmsNumbers;
  readonly codes: SmsCodes;
  readonly limits: SmsLimits;
  readonly delivery: SmsDelivery;
  readonly links: SmsCallbackLinks;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly appName: string;
  /** In place of the built-in ones; may be empty. */
  readonly templates: readonly SmsTemplate[];
}

/** A code that is to go out. */
export interface SmsErrand {
  readonly bearer: CodeBearer;
  readonly factorId: string;
  /** '' for an enrolment. */
  readonly challengeId: string;
  /** E.164, as enrolled. */
  readonly to: string;
  /** BCP 47; '' for the configured one. */
  readonly language: string;
  /** As in PlannedSend. */
  readonly once?: string;
  readonly fields: Partial<EventFields>;
  wanted(): Promise<boolean>;
  /** Told first that it is QUEUED, before it goes out. */
  told(deliveryId: string, word: SmsWord): Promise<void>;
}

/** Counts, makes, words and hands in the messages that carry codes. */
export class SmsMessages {
  readonly #deps: SmsMessagesDependencies;
  readonly #templates: readonly SmsTemplate[];

  constructor(deps: SmsMessagesDependencies) {
    this.#deps = deps;
    this.#templates = templatesFrom(deps.templates);
  }

  /**
   * Sends nothing where `once` says that it was sent. Faults: limited LIMIT_EXCEEDED; unavailable DELIVERY_FAILED when it
   * cannot even be queued, would come too late, or goes to a country that is no longer allowed.
   */
  async send(caller: Caller, errand: SmsErrand): Promise<void> {
    const { limits, delivery, clock } = this.#deps;
    if (errand.bearer.expiresAt - clock.now() < SHORTEST_LIFE) throw notSent('TOO_LATE');
    if (delivery.isFull) throw notSent('QUEUE_FULL');
    const planned = await this.#plan(errand);
    if ((await limits.reserve(caller, planned)) === 'repeated') return;
    try {
      await this.#handIn(errand);
    } catch (error) {
      // Whoever asks again must not be told that it is on its way. If this fails too, `again` still sends.
      await limits.forget(planned).catch(() => {});
      throw error;
    }
  }

  /** A code was typed in by whom it was sent to. The breaker is about money, so it stands in nobody's way. */
  async cameBack(factor: Factor): Promise<void> {
    const { numbers, limits, log } = this.#deps;
    try {
      await limits.credit(factor.realm, await numbers.countryOf(numbers.open(factor)));
    } catch (error) {
      log.warn('a code that came back could not be credited', { error: String(error) });
    }
  }

  async #plan({ bearer, to, once, fields }: SmsErrand): Promise<PlannedSend> {
    const { realm, subject } = bearer;
    const { numbers } = this.#deps;
    const country = await numbers.countryOf(to);
    if (!numbers.allows(country)) throw notSent('COUNTRY_BLOCKED');
    return { realm, subject, number: { e164: to, country }, ...(once === undefined ? {} : { once }), fields };
  }

  async #handIn(errand: SmsErrand): Promise<void> {
    const { codes, delivery, links, clock, random, appName } = this.#deps;
    const { bearer, factorId, challengeId, to, language } = errand;
    const deliveryId = newId('delivery', random.bytes(16));
    await errand.told(deliveryId, { status: 'QUEUED', reason: '', resendable: false });
    // Last of what can fail: a code that is live is said to be on its way.
    const code = await codes.issue(bearer, factorId).catch(async (error: unknown) => {
      await errand.told(deliveryId, { status: 'FAILED', reason: 'NOT_STORED', resendable: true });
      throw error;
    });
    const lifeMs = bearer.expiresAt - clock.now();
    const queued = delivery.enqueue({
      bearerId: bearer.id,
      to,
      body: smsText(templateFor(language, this.#templates), { code, app: appName, lifeMs }),
      callbackUrl: links.make({ realm: bearer.realm, challengeId, factorId, deliveryId }),
      expiresAt: bearer.expiresAt,
      wanted: () => errand.wanted(),
      told: (word) => errand.told(deliveryId, word),
    });
    if (queued) return;
    await codes.void(bearer.realm, bearer.id);
    await errand.told(deliveryId, { status: 'FAILED', reason: 'QUEUE_FULL', resendable: true });
    throw notSent('QUEUE_FULL');
  }
}

/** The code was surely not sent. */
export function notSent(reason: SmsFailure | string): Fault {
  return new Fault('unavailable', 'DELIVERY_FAILED', `the code was not sent (${reason}); offer another method`, {
    metadata: { reason, method: 'sms' },
  });
}
