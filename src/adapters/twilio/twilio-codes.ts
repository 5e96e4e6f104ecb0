import type { SmsFailure } from '#src/domain/sms-failure.ts';

/** What an error code of Twilio means here. `config`: an operator has to look into it. */
export interface TwilioMeaning {
  readonly reason: SmsFailure;
  readonly config: boolean;
}

const about = (reason: SmsFailure, config = false): TwilioMeaning => ({ reason, config });

/** Answers to a request to send (https://www.twilio.com/docs/api/errors): nothing was sent. */
const REFUSALS: ReadonlyMap<number, TwilioMeaning> = new Map([
  [20003, about('SENDER_CONFIG', true)], // credentials
  [21211, about('NUMBER_INVALID')],
  [21212, about('SENDER_CONFIG', true)], // From invalid
  [21217, about('NUMBER_INVALID')],
  [21408, about('COUNTRY_BLOCKED', true)], // allowed in sms.countries, not in the account
  [21606, about('SENDER_CONFIG', true)], // From not owned, or cannot send
  [21608, about('SENDER_CONFIG', true)], // trial account
  [21610, about('OPTED_OUT')],
  [21612, about('NO_ROUTE')], // from this sender to this number
  [21614, about('NUMBER_INVALID')],
  [21635, about('NUMBER_INVALID')], // landline
]);

/** Answers that say "not now": nothing was sent, and the same may be tried again. */
const NOT_NOW: ReadonlySet<number> = new Set([
  20429, // "never processed, always safe to retry"
  21611, // the sender's queue is full
  21730, // maintenance
]);

/** Codes of status callbacks with `failed` and `undelivered`. */
const REPORTS: ReadonlyMap<number, TwilioMeaning> = new Map([
  ...REFUSALS,
  [30001, about('PROVIDER_BUSY')], // queue overflow
  [30002, about('SENDER_CONFIG', true)], // account suspended
  [30003, about('UNREACHABLE')],
  [30004, about('CARRIER_BLOCKED')],
  [30005, about('NUMBER_INVALID')],
  [30006, about('NUMBER_INVALID')], // landline
  [30007, about('CARRIER_FILTERED', true)],
  [30008, about('CARRIER_ERROR')], // unknown
  [30034, about('SENDER_CONFIG', true)], // US A2P 10DLC not registered
  [30036, about('TOO_LATE')], // the validity period is over
  [30450, about('FRAUD_BLOCKED', true)], // SMS pumping protection
]);

export function isNotNow(status: number, code: number | undefined): boolean {
  return status === 429 || (code !== undefined && NOT_NOW.has(code));
}

/** Why Twilio refused to send; undefined when the answer says nothing that is known to mean "not sent". */
export function refusalOf(status: number, code: number | undefined): TwilioMeaning | undefined {
  const known = code === undefined ? undefined : REFUSALS.get(code);
  if (known) return known;
  // A request that was refused for another reason was not carried out, and will not be when it is repeated.
  return status >= 400 && status < 500 ? about('SENDER_CONFIG', true) : undefined;
}

/** Why a message that was accepted did not arrive. */
export function reportOf(code: number | undefined): TwilioMeaning {
  return (code === undefined ? undefined : REPORTS.get(code)) ?? about('CARRIER_ERROR');
}
