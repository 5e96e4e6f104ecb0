import { describe, expect, it } from 'vitest';
import { TwilioSender, type TwilioSenderOptions } from '#src/adapters/twilio/twilio-sender.ts';
import { MINUTE } from '#src/domain/time.ts';
import type { SendResult } from '#src/ports/senders.ts';

type Access = Pick<TwilioSenderOptions, 'accountSid' | 'authToken' | 'baseUrl'>;

const ANYBODY = '+14155552671';

/** What holds for Twilio's test credentials, wherever they are: the stand-in, or Twilio itself. */
export function describeTwilio(name: string, access: () => Access): void {
  const sender = (over: Partial<TwilioSenderOptions> = {}) =>
    new TwilioSender({
      ...access(),
      timeoutMs: 10_000,
      fromNumber: '+15005550006',
      messagingServiceSid: '',
      discardContent: false,
      ...over,
    });
  const send = (to: string, over: Partial<TwilioSenderOptions> = {}): Promise<SendResult> =>
    sender(over).send({ to, body: '123456 is your code', validityMs: MINUTE, callbackUrl: '' });

  describe(name, () => {
    it('accepts a message and names it', async () => {
      expect(await send(ANYBODY)).toEqual({
        outcome: 'accepted',
        providerId: expect.stringMatching(/^(?:SM|MM)[0-9a-f]{32}$/),
      });
    });

    it.each([
      ['+15005550001', 'NUMBER_INVALID', '21211', false],
      ['+15005550002', 'NO_ROUTE', '21612', false],
      ['+15005550003', 'COUNTRY_BLOCKED', '21408', true],
      ['+15005550004', 'OPTED_OUT', '21610', false],
      ['+15005550009', 'NUMBER_INVALID', '21614', false],
    ])('refuses to send to %s: %s', async (to, reason, code, config) => {
      expect(await send(to)).toEqual({ outcome: 'rejected', reason, code, config });
    });

    it.each([
      ['+15005550001', '21212'],
      ['+15005550007', '21606'],
    ])('refuses to send from %s, which an operator has to look into', async (fromNumber, code) => {
      const refused = await send(ANYBODY, { fromNumber });
      expect(refused).toEqual({ outcome: 'rejected', reason: 'SENDER_CONFIG', code, config: true });
    });

    it('does not send now while the queue of the sender is full', async () => {
      const busy = await send(ANYBODY, { fromNumber: '+15005550008' });
      expect(busy).toEqual({ outcome: 'retry', reason: 'PROVIDER_BUSY', afterMs: undefined });
    });

    it('refuses a wrong token, which an operator has to look into', async () => {
      const refused = await send(ANYBODY, { authToken: 'f'.repeat(32) });
      expect(refused).toEqual({ outcome: 'rejected', reason: 'SENDER_CONFIG', code: '20003', config: true });
    });
  });
}
