import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WebhookNotices } from '#src/adapters/notices/webhook-notices.ts';
import { isSignedBy } from '#src/adapters/notices/webhook-signature.ts';
import type { OutgoingNotice } from '#src/ports/notices.ts';
import { WebhookReceiver } from '../../support/webhook-receiver.ts';

const NOW = Date.UTC(2026, 10, 22, 12, 0, 0);
const KEY = 'a-key-that-only-the-two-of-us-know';
const NOTICE: OutgoingNotice = {
  id: 'evt_1',
  realm: 'shop',
  subject: 'ann',
  type: 'backup_code.used',
  method: 'backup_code',
  at: NOW - 1_000,
  facts: { codes_left: '3' },
  notMeUrl: 'https://id.example.com/not-me#token',
};

describe('a notice by webhook', () => {
  let receiver: WebhookReceiver;
  beforeAll(async () => {
    receiver = await WebhookReceiver.listen();
  });
  beforeEach(() => {
    receiver.calls.length = 0;
    receiver.answer = (response) => void response.writeHead(204).end();
  });
  afterAll(() => receiver[Symbol.asyncDispose]());
  const sender = (over: { readonly url?: string; readonly timeoutMs?: number } = {}) =>
    new WebhookNotices({ url: receiver.url, key: () => KEY, timeoutMs: 10_000, now: () => NOW, ...over });

  it('carries what happened, a text, the link, and a signature over time and body', async () => {
    expect(await sender().send(NOTICE)).toBe('sent');
    const [call] = receiver.calls;
    if (!call) throw new Error('nothing came');
    expect(call.contentType).toBe('application/json; charset=utf-8');
    expect(JSON.parse(call.body)).toEqual({
      id: 'evt_1',
      realm: 'shop',
      subject: 'ann',
      type: 'backup_code.used',
      method: 'backup_code',
      time: '2026-11-22T11:59:59.000Z',
      facts: { codes_left: '3' },
      title: 'A backup code was used',
      body: '3 are left.',
      not_me_url: 'https://id.example.com/not-me#token',
    });
    const seconds = NOW / 1_000;
    const expected = createHmac('sha256', KEY).update(`${seconds}.${call.body}`).digest('hex');
    expect(call.signature).toBe(`t=${seconds},v1=${expected}`);
  });

  it('is known as ours by the key alone, for five minutes, and for this body', async () => {
    await sender().send(NOTICE);
    const [call] = receiver.calls;
    if (!call) throw new Error('nothing came');
    const seconds = NOW / 1_000;
    expect(isSignedBy(KEY, call.signature, call.body, seconds)).toBe(true);
    expect(isSignedBy('another', call.signature, call.body, seconds)).toBe(false);
    expect(isSignedBy(KEY, call.signature, `${call.body} `, seconds)).toBe(false);
    expect(isSignedBy(KEY, call.signature.replace(`t=${seconds}`, `t=${seconds + 1}`), call.body, seconds)).toBe(false);
    expect(isSignedBy(KEY, call.signature, call.body, seconds + 300)).toBe(true);
    expect(isSignedBy(KEY, call.signature, call.body, seconds + 301)).toBe(false);
    expect(isSignedBy(KEY, call.signature, call.body, seconds - 301)).toBe(false);
    for (const header of ['', 'v1=00', `${call.signature},v1=00`, 't=1,v1=']) {
      expect(isSignedBy(KEY, header, call.body, seconds)).toBe(false);
    }
  });

  it.each([301, 400, 410, 429, 500])('was not taken when the answer is %i', async (status) => {
    receiver.answer = (response) => void response.writeHead(status, { location: '/elsewhere' }).end('no');
    await expect(sender().send(NOTICE)).rejects.toThrow(`the webhook answered ${status}`);
    expect(receiver.calls).toHaveLength(1);
  });

  it('ends in time when nothing is answered, and when the answer never ends', async () => {
    receiver.answer = () => {};
    await expect(sender({ timeoutMs: 100 }).send(NOTICE)).rejects.toThrow('the webhook cannot be reached');
    receiver.answer = (response) => {
      response.writeHead(200);
      const timer = setInterval(() => response.write('x'.repeat(1_000)), 1);
      response.on('close', () => clearInterval(timer));
    };
    expect(await sender().send(NOTICE)).toBe('sent');
  });

  it('says no more of a failure than its kind: the address may hold a password', async () => {
    const url = 'http://user:hunter2@127.0.0.1:1/secret-path';
    const failure = await sender({ url })
      .send(NOTICE)
      .catch((error: unknown) => String(error));
    expect(failure).toContain('the webhook cannot be reached');
    expect(failure).not.toMatch(/hunter2|secret-path|a-key-that/);
  });
});
