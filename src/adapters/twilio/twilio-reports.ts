import type { SmsCallback, SmsReport, SmsReports } from '#src/ports/senders.ts';
import { reportOf } from './twilio-codes.ts';

/** Base64 of HMAC-SHA-1 is 28 characters. */
const SIGNATURE_LENGTH = 28;

const STATUS: ReadonlyMap<string, SmsReport['status']> = new Map([
  ['sent', 'SENT'],
  ['delivered', 'DELIVERED'],
  ['read', 'DELIVERED'],
  ['undelivered', 'FAILED'],
  ['failed', 'FAILED'],
  ['canceled', 'FAILED'],
]);

/** Reads Twilio's status callbacks; nothing in them is looked at before the signature holds. */
export class TwilioReports implements SmsReports {
  readonly #accountSid: string;
  readonly #authToken: string;

  constructor(options: { readonly accountSid: string; readonly authToken: string }) {
    if (options.authToken === '')
      throw new RangeError('without the auth token every signature could be made by anybody');
    this.#accountSid = options.accountSid;
    this.#authToken = options.authToken;
  }

  async read({ url, signature, params }: SmsCallback): Promise<SmsReport | undefined> {
    if (signature.length !== SIGNATURE_LENGTH) return undefined;
    const { isSigned } = await import('./twilio-signature.ts');
    if (!isSigned(this.#authToken, signature, url, params)) return undefined;
    const form = new Map(params);
    if (form.get('AccountSid') !== this.#accountSid) return undefined;
    const status = STATUS.get(form.get('MessageStatus') ?? '') ?? 'UNCHANGED';
    const code = form.get('ErrorCode') ?? '';
    const meaning = status === 'FAILED' ? reportOf(/^\d{1,6}$/.test(code) ? Number(code) : undefined) : undefined;
    return {
      providerId: form.get('MessageSid') ?? '',
      status,
      reason: meaning?.reason ?? '',
      code: meaning && /^\d{1,6}$/.test(code) ? code : '',
      config: meaning?.config ?? false,
    };
  }
}
