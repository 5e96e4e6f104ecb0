import type { SendResult, SmsMessage, SmsSender } from '#src/ports/senders.ts';
import type { Log } from '#src/ports/telemetry.ts';

/** Writes messages into the log instead of sending them: for trying out. The settings refuse it in production. */
export class ConsoleSmsSender implements SmsSender {
  readonly #log: Log;
  #sent = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  async send({ to, body, validityMs }: SmsMessage): Promise<SendResult> {
    this.#sent += 1;
    this.#log.warn('SMS, not sent anywhere since sms.provider is console', { to, text: body, validityMs });
    return { outcome: 'accepted', providerId: `console-${this.#sent}` };
  }
}
