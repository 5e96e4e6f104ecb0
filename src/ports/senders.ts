import type { DurationMs } from '../domain/time.ts';

export interface SmsMessage {
  /** E.164. */
  readonly to: string;
  /** Carries the code: never logged, never in an error. */
  readonly body: string;
  /** After this the provider must not deliver any more. */
  readonly validityMs: DurationMs;
  /** Where the provider reports to; '' for nowhere. */
  readonly callbackUrl: string;
}

/** What came of an attempt to send. `reason` is one word for callers and metrics. */
export type SendResult =
  | { readonly outcome: 'accepted'; readonly providerId: string }
  /** Surely not sent; the same may be tried again after the delay. */
  | { readonly outcome: 'retry'; readonly reason: string; readonly afterMs: DurationMs | undefined }
  /** Surely not sent, and never will be. `config`: a fault of the operator, not of the number. */
  | { readonly outcome: 'rejected'; readonly reason: string; readonly code: string; readonly config: boolean }
  /** It may have been sent. */
  | { readonly outcome: 'unknown'; readonly reason: string };

/** Sends text messages. Never rejects; bounded in time by itself. */
export interface SmsSender {
  send(message: SmsMessage): Promise<SendResult>;
}

/** A status callback as it came in, from whoever. */
export interface SmsCallback {
  /** As the provider called it: the public origin, and path and query as they came. */
  readonly url: string;
  /** '' if absent. */
  readonly signature: string;
  /** Decoded, in the order in which they came, repeated ones included. */
  readonly params: readonly (readonly [name: string, value: string])[];
}

/** What the provider says became of a message that it had accepted. */
export interface SmsReport {
  readonly providerId: string;
  /** UNCHANGED: on its way. */
  readonly status: 'UNCHANGED' | 'SENT' | 'DELIVERED' | 'FAILED';
  /** With FAILED, one word as in SendResult; '' otherwise. */
  readonly reason: string;
  /** The provider's own code, for the log; '' if none. */
  readonly code: string;
  /** An operator has to look into it. */
  readonly config: boolean;
}

/** Tells the provider's callbacks from everybody else's. */
export interface SmsReports {
  /** Undefined unless the signature holds over the URL and everything that came with it. */
  read(callback: SmsCallback): Promise<SmsReport | undefined>;
}

/** A browser's push subscription (W3C Push API). */
export interface PushSubscription {
  /** A capability URL: never logged. */
  readonly endpoint: string;
  /** base64url. */
  readonly p256dh: string;
  /** base64url. */
  readonly auth: string;
}

export interface PushMessage {
  readonly subscription: PushSubscription;
  /** JSON without secrets; under 1 KiB. */
  readonly payload: Uint8Array;
  readonly ttlMs: DurationMs;
  /** At most 32 base64url characters: a newer one takes an older one's place. */
  readonly topic: string;
}

export type PushResult =
  | Extract<SendResult, { readonly outcome: 'accepted' | 'retry' | 'rejected' | 'unknown' }>
  /** The subscription is no more (404, 410). */
  | { readonly outcome: 'gone' };

/** Sends Web Push messages (RFC 8030, 8291, 8292). Never rejects; bounded in time by itself. */
export interface PushSender {
  send(message: PushMessage): Promise<PushResult>;
  /** Whether a browser's endpoint may be enrolled; answers why not. */
  refusal(endpoint: string): string | undefined;
  /** base64url, 87 characters: browsers subscribe with it. Throws Fault(unavailable) while it cannot be read. */
  publicKey(): Promise<string>;
}
