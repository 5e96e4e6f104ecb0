import { type DurationMs, SECOND } from '#src/domain/time.ts';
import type { SendResult, SmsMessage, SmsSender } from '#src/ports/senders.ts';
import { isNotNow, refusalOf } from './twilio-codes.ts';
import type { TwilioAccess, TwilioAnswer } from './twilio-request.ts';

export interface TwilioSenderOptions extends TwilioAccess {
  /** Exactly one of the two is not empty. */
  readonly fromNumber: string;
  readonly messagingServiceSid: string;
  /** Asks Twilio not to keep the text. */
  readonly discardContent: boolean;
}

/** Twilio takes 1 to 36,000 seconds. */
const LONGEST_VALIDITY_S = 36_000;

/**
 * Sends by Twilio's Programmable Messaging. The library loads with the first message. It does not try again: there is no
 * idempotency key, so only the caller knows whether a second message does harm.
 */
export class TwilioSender implements SmsSender {
  readonly #options: TwilioSenderOptions;

  constructor(options: TwilioSenderOptions) {
    if ((options.fromNumber === '') === (options.messagingServiceSid === '')) {
      throw new RangeError('messages come from a number or from a messaging service, not from both');
    }
    this.#options = options;
  }

  async send(message: SmsMessage): Promise<SendResult> {
    const { fromNumber, messagingServiceSid, discardContent } = this.#options;
    const { createMessage } = await import('./twilio-request.ts');
    const answer = await createMessage(this.#options, {
      To: message.to,
      Body: message.body,
      ValidityPeriod: String(validitySeconds(message.validityMs)),
      RiskCheck: 'enable',
      ...(fromNumber === '' ? { MessagingServiceSid: messagingServiceSid } : { From: fromNumber }),
      ...(message.callbackUrl === '' ? {} : { StatusCallback: message.callbackUrl }),
      ...(discardContent ? { ContentRetention: 'discard' } : {}),
    });
    return resultOf(answer);
  }
}

/** Whole ones, rounded down, so that no message arrives whose code is over. */
function validitySeconds(validityMs: DurationMs): number {
  return Math.min(LONGEST_VALIDITY_S, Math.max(1, Math.floor(validityMs / SECOND)));
}

function resultOf(answer: TwilioAnswer): SendResult {
  if (answer.kind === 'failure') {
    if (answer.tls) return { outcome: 'rejected', reason: 'SENDER_CONFIG', code: 'tls', config: true };
    if (!answer.sent) return { outcome: 'retry', reason: 'PROVIDER_DOWN', afterMs: undefined };
    return { outcome: 'unknown', reason: answer.timedOut ? 'NO_ANSWER' : 'PROVIDER_ERROR' };
  }
  const { status, code, sid } = answer;
  if (isNotNow(status, code)) {
    return { outcome: 'retry', reason: 'PROVIDER_BUSY', afterMs: retryAfterMs(answer.retryAfter) };
  }
  const refusal = refusalOf(status, code);
  if (refusal) return { outcome: 'rejected', ...refusal, code: String(code ?? status) };
  const made = status >= 200 && status < 300 && /^(?:SM|MM)[0-9a-f]{32}$/i.test(sid);
  return made ? { outcome: 'accepted', providerId: sid } : { outcome: 'unknown', reason: 'PROVIDER_ERROR' };
}

/** In seconds (RFC 9110 section 10.2.3); a date is not looked at. */
function retryAfterMs(header: string): number | undefined {
  return /^\d{1,6}$/.test(header) ? Number(header) * SECOND : undefined;
}
