import { phoneNumbers } from '#src/adapters/phone/phone-numbers.ts';
import { ConsoleSmsSender } from '#src/adapters/sms-console/console-sender.ts';
import { TwilioReports } from '#src/adapters/twilio/twilio-reports.ts';
import { TwilioSender } from '#src/adapters/twilio/twilio-sender.ts';
import { isLoopback } from '#src/config/loopback.ts';
import type { Config } from '#src/config/schema.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { IssuedCodes } from '#src/ports/issued-codes.ts';
import type { Clock, KeyedDigest, Random, SecretBox } from '#src/ports/runtime.ts';
import type { SendLedger } from '#src/ports/send-ledger.ts';
import type { SmsSender } from '#src/ports/senders.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';
import type { MethodParts } from '#src/services/methods/contract.ts';
import { type DeliveryNotes, smsParts } from '#src/services/methods/sms.ts';
import { SmsCallbackLinks } from '#src/services/methods/sms-callback-links.ts';
import { SmsCallbacks } from '#src/services/methods/sms-callbacks.ts';
import { SmsCodes } from '#src/services/methods/sms-codes.ts';
import { SmsDelivery } from '#src/services/methods/sms-delivery.ts';
import { SmsLimits } from '#src/services/methods/sms-limits.ts';
import { SmsMessages } from '#src/services/methods/sms-messages.ts';
import { SmsNumbers } from '#src/services/methods/sms-numbers.ts';
import type { Trail } from '#src/services/trail.ts';

export interface SmsDependencies {
  readonly config: Config;
  readonly challenges: ChallengeStore;
  readonly factors: FactorStore;
  readonly issued: IssuedCodes;
  readonly ledger: SendLedger;
  readonly deliveries: DeliveryNotes;
  readonly trail: Trail;
  readonly box: SecretBox;
  readonly digest: KeyedDigest;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** What there is where SMS is switched on. */
export interface SmsServices {
  readonly parts: MethodParts;
  readonly sender: SmsSender;
  readonly numbers: SmsNumbers;
  /** Undefined for the console, which reports nothing. */
  readonly callbacks: SmsCallbacks | undefined;
  /** Says "not sent" of what waits; what is being sent has a second. */
  stop(): Promise<void>;
}

/** Codes by SMS as the settings want them; undefined where they are switched off. Libraries load with their first use. */
export function composeSms(deps: SmsDependencies): SmsServices | undefined {
  const { config, box } = deps;
  const { sms } = config;
  if (!config.mfa.methods.includes('sms')) return undefined;
  const { sender, reports } = providerOf(deps);
  const numbers = new SmsNumbers({ ...deps, phones: phoneNumbers, countries: sms.countries });
  const codes = new SmsCodes(deps);
  const delivery = new SmsDelivery({ ...deps, sender, maxWaiting: sms.queue });
  const links = new SmsCallbackLinks({ box, publicUrl: reports ? callableUrl(config) : '' });
  const limits = new SmsLimits({
    ...deps,
    maxSends: sms.max_sends,
    sendWindowMs: sms.send_window,
    maxPerNumberDay: sms.max_per_number_day,
    maxPerPrefixHour: sms.max_per_prefix_hour,
    maxPerCountryHour: sms.max_per_country_hour,
    maxPerRealmHour: sms.max_per_realm_hour,
    maxPerDay: sms.max_per_day,
    minVerifiedShare: sms.min_verified_share / 100,
    minVerifiedSends: sms.min_verified_sends,
  });
  const { app_name: appName, templates } = sms;
  const messages = new SmsMessages({ ...deps, numbers, codes, limits, delivery, links, appName, templates });
  return {
    parts: smsParts({ ...deps, numbers, codes, messages }),
    sender,
    numbers,
    callbacks: reports && new SmsCallbacks({ ...deps, reports, links }),
    stop: () => delivery.stop(),
  };
}

function providerOf({ config, log }: SmsDependencies): {
  readonly sender: SmsSender;
  readonly reports: TwilioReports | undefined;
} {
  if (config.sms.provider === 'console') return { sender: new ConsoleSmsSender(log), reports: undefined };
  const { twilio } = config;
  const account = { accountSid: twilio.account_sid, authToken: twilio.auth_token?.reveal() ?? '' };
  const sender = new TwilioSender({
    ...account,
    baseUrl: twilio.base_url,
    timeoutMs: twilio.timeout,
    fromNumber: twilio.from_number,
    messagingServiceSid: twilio.messaging_service_sid,
    discardContent: twilio.discard_content,
  });
  return { sender, reports: new TwilioReports(account) };
}

/** A provider elsewhere refuses messages that it should report to this machine alone. */
function callableUrl({ listeners, twilio }: Config): string {
  const { url } = listeners.public;
  const isHere = (text: string) => isLoopback(new URL(text).hostname);
  return url !== '' && isHere(url) && !isHere(twilio.base_url) ? '' : url;
}
