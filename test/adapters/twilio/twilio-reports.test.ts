import twilio from 'twilio';
import { describe, expect, it } from 'vitest';
import { TwilioReports } from '#src/adapters/twilio/twilio-reports.ts';
import type { SmsCallback } from '#src/ports/senders.ts';
import { ACCOUNT_SID, AUTH_TOKEN, signedReport } from '../../support/twilio-stand-in.ts';

const URL = 'https://auth.example/callbacks/twilio?about=AbC-_9';
const MESSAGE = { sid: `SM${'a'.repeat(32)}`, to: '+14155552671', form: { StatusCallback: URL, From: '+15005550006' } };
const reports = new TwilioReports({ accountSid: ACCOUNT_SID, authToken: AUTH_TOKEN });

function callback(status: string, errorCode?: number, over: Partial<SmsCallback> = {}): SmsCallback {
  const { form, signature } = signedReport(MESSAGE, status, errorCode === undefined ? {} : { errorCode });
  return { url: URL, signature, params: [...form], ...over };
}

describe('status callbacks of Twilio', () => {
  it.each([
    ['queued', undefined, 'UNCHANGED', '', false],
    ['sending', undefined, 'UNCHANGED', '', false],
    ['a status of next year', undefined, 'UNCHANGED', '', false],
    ['sent', undefined, 'SENT', '', false],
    ['delivered', undefined, 'DELIVERED', '', false],
    ['read', undefined, 'DELIVERED', '', false],
    ['undelivered', 30003, 'FAILED', 'UNREACHABLE', false],
    ['undelivered', 30004, 'FAILED', 'CARRIER_BLOCKED', false],
    ['undelivered', 30005, 'FAILED', 'NUMBER_INVALID', false],
    ['undelivered', 30006, 'FAILED', 'NUMBER_INVALID', false],
    ['undelivered', 30007, 'FAILED', 'CARRIER_FILTERED', true],
    ['undelivered', 30008, 'FAILED', 'CARRIER_ERROR', false],
    ['undelivered', 30034, 'FAILED', 'SENDER_CONFIG', true],
    ['failed', 30036, 'FAILED', 'TOO_LATE', false],
    ['failed', 30450, 'FAILED', 'FRAUD_BLOCKED', true],
    ['failed', 21610, 'FAILED', 'OPTED_OUT', false],
    ['undelivered', 99_999, 'FAILED', 'CARRIER_ERROR', false],
    ['failed', undefined, 'FAILED', 'CARRIER_ERROR', false],
    ['canceled', undefined, 'FAILED', 'CARRIER_ERROR', false],
  ])('say %s (%s): %s %s', async (status, errorCode, told, reason, config) => {
    const report = await reports.read(callback(status, errorCode));
    const code = told === 'FAILED' && errorCode !== undefined ? String(errorCode) : '';
    expect(report).toEqual({ providerId: MESSAGE.sid, status: told, reason, code, config });
  });

  it('are signed as Twilio’s own library has it', () => {
    const { form, signature } = signedReport(MESSAGE, 'delivered');
    expect(twilio.validateRequest(AUTH_TOKEN, signature, URL, Object.fromEntries(form))).toBe(true);
  });

  it('are refused when anything about them is another, or more, or less than was signed', async () => {
    const good = callback('delivered');
    expect(await reports.read(good)).toBeDefined();
    const [first, ...rest] = good.params;
    const bent: readonly Partial<SmsCallback>[] = [
      { signature: '' },
      { signature: 'A'.repeat(28) },
      { signature: `${good.signature} ` },
      { signature: good.signature.replace(/^./, (letter) => (letter === 'A' ? 'B' : 'A')) },
      { url: URL.replace('https', 'http') },
      { url: URL.replace('auth.example', 'evil.example') },
      { url: `${URL}x` },
      { url: `${URL}&about=other` },
      { url: 'no url at all' },
      { params: rest },
      { params: [...good.params, ['Extra', '1']] },
      { params: good.params.map(([name, value]) => [name, name === 'MessageStatus' ? 'failed' : value]) },
      { params: [...good.params, ['MessageStatus', 'failed']] },
      { params: first ? [[first[1], first[0]], ...rest] : [] },
      { params: [...good.params, ['__proto__', 'x']] },
    ];
    for (const over of bent) expect(await reports.read({ ...good, ...over })).toBeUndefined();
  });

  it('are refused when they are signed with another token, or are of another account', async () => {
    const { form, signature } = signedReport(MESSAGE, 'delivered', { authToken: '0'.repeat(32) });
    expect(await reports.read({ url: URL, signature, params: [...form] })).toBeUndefined();
    const others = new TwilioReports({ accountSid: `AC${'9'.repeat(32)}`, authToken: AUTH_TOKEN });
    expect(await others.read(callback('delivered'))).toBeUndefined();
  });

  it('take fields that are added without notice', async () => {
    const { form } = signedReport(MESSAGE, 'delivered');
    form.set('RawDlrDoneDate', '2611220213');
    form.set('NewIn2027', 'ünï');
    const text = `${URL}${[...form]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => `${name}${value}`)
      .join('')}`;
    const { createHmac } = await import('node:crypto');
    const signature = createHmac('sha1', AUTH_TOKEN).update(text).digest('base64');
    expect(await reports.read({ url: URL, signature, params: [...form] })).toMatchObject({ status: 'DELIVERED' });
  });

  it('cannot be checked without a token', () => {
    expect(() => new TwilioReports({ accountSid: ACCOUNT_SID, authToken: '' })).toThrow(RangeError);
  });
});
