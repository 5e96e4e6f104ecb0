/**
 * Why a message was not sent or did not arrive, in one word for callers and metrics:
 *
 * - about the person: OPTED_OUT (answered STOP), NUMBER_INVALID, UNREACHABLE (handset off or out of reach)
 * - about the network: NO_ROUTE, CARRIER_BLOCKED, CARRIER_FILTERED, CARRIER_ERROR, FRAUD_BLOCKED (the provider saw pumping)
 * - about the operator: COUNTRY_BLOCKED (not allowed in the account, or no longer here), SENDER_CONFIG (credentials, sender, account)
 * - about the provider: PROVIDER_BUSY, PROVIDER_DOWN, PROVIDER_ERROR, NO_ANSWER; with the last two it may have been sent
 * - about this sidecar: NOT_STORED, STOPPING, QUEUE_FULL
 * - about time: TOO_LATE (the challenge ends before it could arrive), DELAYED (still being tried)
 */
export type SmsFailure =
  | 'OPTED_OUT'
  | 'NUMBER_INVALID'
  | 'UNREACHABLE'
  | 'NO_ROUTE'
  | 'CARRIER_BLOCKED'
  | 'CARRIER_FILTERED'
  | 'CARRIER_ERROR'
  | 'FRAUD_BLOCKED'
  | 'COUNTRY_BLOCKED'
  | 'SENDER_CONFIG'
  | 'PROVIDER_BUSY'
  | 'PROVIDER_DOWN'
  | 'PROVIDER_ERROR'
  | 'NO_ANSWER'
  | 'NOT_STORED'
  | 'TOO_LATE'
  | 'DELAYED'
  | 'STOPPING'
  | 'QUEUE_FULL';

/** What passes by itself; everything else stays as it is until somebody changes something. */
const PASSING: ReadonlySet<string> = new Set<SmsFailure>([
  'UNREACHABLE',
  'CARRIER_ERROR',
  'PROVIDER_BUSY',
  'PROVIDER_DOWN',
  'PROVIDER_ERROR',
  'NO_ANSWER',
  'NOT_STORED',
  'STOPPING',
  'QUEUE_FULL',
]);

/** Whether sending again could help. */
export function couldHelpToResend(reason: string): boolean {
  return PASSING.has(reason);
}
