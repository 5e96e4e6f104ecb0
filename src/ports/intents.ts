import type { EpochMs } from '../domain/time.ts';

/**
 * The ports for state. Each method is one atomic intent with an outcome: of any number of parallel calls, from any
 * number of sidecars, the outcomes are as if they had come one after the other. Instants are passed in.
 *
 * Contract for `events`: they are recorded if and only if the outcome is the one that the intent's comment names, and
 * they are durable before the promise resolves. An intent never takes effect without its events; after a crash an event
 * may stand for an effect that did not happen, and then an `audit.unconfirmed` event says so at the next start.
 *
 * A failing or slow store rejects with Fault(unavailable). All values are plain data.
 */

/** Makes a call repeatable: a second call with the same key gets the first outcome and has no second effect. */
export interface RequestClaim {
  /** Realm, method, caller and request id, in this order, joined by a line feed. */
  readonly key: string;
  /** Digest of the whole request, to tell a repeat from a reuse. */
  readonly fingerprint: string;
  /** What the service needs to build the same answer again; sealed where it holds a secret. */
  readonly seed: Uint8Array;
  readonly expiresAt: EpochMs;
}

/** The request id was used before: with the same request (`repeat`) or another one (`reused`). */
export type Repeat = { readonly outcome: 'repeat'; readonly seed: Uint8Array } | { readonly outcome: 'reused' };

/** A receipt to burn together with what it permits. */
export interface ReceiptBurn {
  readonly receiptId: string;
  readonly expiresAt: EpochMs;
}
