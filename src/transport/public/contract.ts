import type { Caller, ClientContext } from '../../domain/caller.ts';
import type { EpochMs } from '../../domain/time.ts';

/**
 * What the public listener needs of the services behind it, besides services/methods/push-api.ts. Everything here is asked
 * for by somebody nobody vouches for: a signature or a token in the request is the only thing that grants, and refusals do
 * not say why.
 */

/** Who asks: the caller `public` with the role `portal`, and the connection as far as it can be believed. */
export interface Visit {
  readonly caller: Caller;
  readonly client: ClientContext;
}

/** Takes status callbacks of Twilio. */
export interface SmsCallbacks {
  /** False when the signature is not Twilio's; then nothing happened. Throws Fault(unavailable) to be called again. */
  receive(visit: Visit, callback: TwilioCallback): Promise<boolean>;
}

export interface TwilioCallback {
  /** As Twilio called it: the public origin, and path and query as they came. */
  readonly url: string;
  /** X-Twilio-Signature; '' if absent. */
  readonly signature: string;
  /** Decoded, in the order in which they came, repeated ones included. */
  readonly params: readonly (readonly [name: string, value: string])[];
}

/** The link "this was not me" in notices. */
export interface NotMe {
  /** What the link is about; changes nothing. Undefined for a token that is unknown or over. */
  view(visit: Visit, token: string): Promise<NotMeView | undefined>;
  /** Locks. False for a token that is unknown or over; true again for one that was used. */
  confirm(visit: Visit, token: string): Promise<boolean>;
}

export interface NotMeView {
  /** Of the event: `factor.enrolled` and the like. */
  readonly type: string;
  readonly at: EpochMs;
  /** Whether it was confirmed before. */
  readonly done: boolean;
}
