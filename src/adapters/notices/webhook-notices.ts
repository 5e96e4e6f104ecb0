import { type DurationMs, type EpochMs, SECOND } from '#src/domain/time.ts';
import type { NoticeSender, OutgoingNotice } from '#src/ports/notices.ts';
import { payloadOf } from './notice-payload.ts';
import { webhookSignature } from './webhook-signature.ts';

export interface WebhookNoticesOptions {
  readonly url: string;
  /** Read when it is needed, so that it is in no options that are logged. */
  readonly key: () => string;
  readonly timeoutMs: DurationMs;
  readonly now: () => EpochMs;
}

/**
 * Hands notices to the application by POST, as JSON that is signed. Any status of 200 to 299 means that it was taken.
 * Redirects are not followed: the settings say where notices go, nobody else. What is answered is not read.
 */
export class WebhookNotices implements NoticeSender {
  readonly #options: WebhookNoticesOptions;

  constructor(options: WebhookNoticesOptions) {
    this.#options = options;
  }

  async send(notice: OutgoingNotice): Promise<'sent'> {
    const { key, now, timeoutMs, url } = this.#options;
    const body = JSON.stringify(payloadOf(notice));
    const answer = await this.#post(url, body, webhookSignature(key(), body, Math.floor(now() / SECOND)), timeoutMs);
    if (answer >= 200 && answer < 300) return 'sent';
    throw new Error(`the webhook answered ${answer}`);
  }

  async #post(url: string, body: string, signature: string, timeoutMs: DurationMs): Promise<number> {
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json; charset=utf-8', 'sallyport-signature': signature },
        body,
        redirect: 'manual',
        signal: AbortSignal.timeout(timeoutMs),
      });
      await response.body?.cancel();
      return response.status;
    } catch (error) {
      // What went wrong, but not the address: it may hold a password.
      throw new Error(`the webhook cannot be reached: ${wordFor(error)}`);
    }
  }
}

/** A code such as ECONNREFUSED, or the name of the error. */
function wordFor(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause instanceof Error && 'code' in cause && typeof cause.code === 'string') return cause.code;
  return error instanceof Error ? error.name : 'unknown';
}
