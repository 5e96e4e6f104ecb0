import { describe, expect, it } from 'vitest';
import { MINUTE, SECOND } from '#src/domain/time.ts';
import type { Random } from '#src/ports/runtime.ts';
import type { SendResult, SmsMessage } from '#src/ports/senders.ts';
import { SmsDelivery, type SmsJob, type SmsWord } from '#src/services/methods/sms-delivery.ts';
import { ManualClock, settle } from '../../support/clock.ts';
import { SeededRandom } from '../../support/random.ts';
import { CountingMetrics, RecordingLog } from '../../support/recording-telemetry.ts';
import { ScriptedSender } from '../../support/sms-world.ts';

const BUSY: SendResult = { outcome: 'retry', reason: 'PROVIDER_BUSY', afterMs: undefined };
const DOWN: SendResult = { outcome: 'retry', reason: 'PROVIDER_DOWN', afterMs: undefined };
const QUEUED = { status: 'QUEUED', resendable: false };

function world(options: { readonly maxWaiting?: number; readonly random?: Random } = {}) {
  const clock = new ManualClock();
  const sender = new ScriptedSender();
  const metrics = new CountingMetrics();
  const log = new RecordingLog();
  const { random = new SeededRandom('jitter'), maxWaiting = 100 } = options;
  const delivery = new SmsDelivery({ clock, sender, metrics, log, random, maxWaiting });
  let made = 0;
  /** A message, and what is told of it, each with when it was. */
  const send = (over: Partial<SmsJob> = {}) => {
    made += 1;
    const began = clock.now();
    const words: (SmsWord & { readonly after: number })[] = [];
    const job: SmsJob = {
      bearerId: `chl_${made}`,
      to: `+1415555${1_000 + made}`,
      body: `code ${made}`,
      callbackUrl: '',
      expiresAt: began + MINUTE,
      wanted: async () => true,
      told: async (word) => void words.push({ ...word, after: clock.now() - began }),
      ...over,
    };
    return { queued: delivery.enqueue(job), words, job };
  };
  const pass = async (ms: number) => {
    await settle();
    await clock.advanceSlowly(ms, 50);
    await settle();
  };
  return { clock, sender, metrics, log, delivery, send, pass };
}

describe('a message on its way', () => {
  it('is sent at once and told as SENT', async () => {
    const { send, sender, metrics, pass } = world();
    const { queued, words, job } = send();
    expect([queued, metrics.count('smsWaiting')]).toEqual([true, 1]);
    await pass(0);
    expect(words).toEqual([{ status: 'SENT', reason: '', resendable: false, after: 0 }]);
    expect(sender.asked).toEqual([{ to: job.to, body: job.body, callbackUrl: '', validityMs: MINUTE }]);
    expect([metrics.count('sms', 'sent', ''), metrics.count('smsWaiting')]).toEqual([1, 0]);
  });

  it('is retried on 429 with jitter, within the life of its challenge, and told as SENT once (F21, SMS-6)', async () => {
    const { send, sender, metrics, pass } = world();
    sender.next.push(BUSY, BUSY, BUSY);
    const { words } = send();
    await pass(10 * SECOND);
    expect(sender.asked).toHaveLength(4);
    expect(new Set(sender.asked.map(({ body }) => body)).size).toBe(1);
    expect(words.filter(({ status }) => status !== 'QUEUED')).toMatchObject([{ status: 'SENT' }]);
    expect([metrics.count('smsRetried'), metrics.count('sms', 'sent', '')]).toEqual([3, 1]);
    const left = sender.asked.map(({ validityMs }) => validityMs);
    expect(left).toEqual(left.toSorted((a, b) => b - a));
  });

  it('waits twice as long each time, at most ten seconds, and any part of that', async () => {
    const most: Random = { bytes: (length) => new Uint8Array(length).fill(255) };
    const { send, sender, pass, clock } = world({ random: most });
    sender.always = DOWN;
    const began = clock.now();
    const at: number[] = [];
    const original = sender.send.bind(sender);
    sender.send = (message: SmsMessage) => {
      at.push(clock.now() - began);
      return original(message);
    };
    send({ expiresAt: began + 2 * MINUTE });
    await pass(60 * SECOND);
    const waits = at.slice(1).map((time, index) => time - (at[index] ?? 0));
    const expected = [400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000];
    // The clock of the test goes in steps of 50 ms.
    expect(waits.slice(0, expected.length)).toEqual(expected);
    const none: Random = { bytes: (length) => new Uint8Array(length) };
    const eager = world({ random: none });
    eager.sender.next.push(BUSY);
    eager.send();
    await eager.pass(50);
    expect(eager.sender.asked).toHaveLength(2);
  });

  it('waits as long as the provider says, and says at once that it is not sent when that is too long', async () => {
    const { send, sender, pass } = world();
    sender.next.push({ ...BUSY, afterMs: 5_000 });
    const { words } = send();
    await pass(4_900);
    expect(sender.asked).toHaveLength(1);
    await pass(1_000);
    expect(sender.asked).toHaveLength(2);
    expect(words.at(-1)).toMatchObject({ status: 'SENT' });
    sender.next.push({ ...BUSY, afterMs: 120_000 });
    const late = send();
    await pass(0);
    expect(late.words).toMatchObject([{ status: 'FAILED', reason: 'PROVIDER_BUSY', resendable: true, after: 0 }]);
  });

  it('is given up as not sent in time, and nothing is sent after that, while the provider is down', async () => {
    const { send, sender, pass, metrics, clock } = world();
    sender.always = DOWN;
    const { words } = send();
    await pass(MINUTE);
    const last = words.at(-1);
    expect(last).toMatchObject({ status: 'FAILED', reason: 'PROVIDER_DOWN', resendable: true });
    expect(last?.after).toBeLessThanOrEqual(54 * SECOND);
    const asked = sender.asked.length;
    expect(asked).toBeGreaterThan(3);
    for (const { validityMs } of sender.asked) expect(validityMs).toBeGreaterThanOrEqual(6 * SECOND);
    await pass(MINUTE);
    expect([sender.asked.length, clock.pending, metrics.count('smsWaiting')]).toEqual([asked, 0, 0]);
  });

  it.each([
    ['NO_ANSWER', 'a time-out'],
    ['PROVIDER_ERROR', 'a 500'],
  ])('is not sent a second time when nobody knows (F22, SMS-6): %s after %s', async (reason) => {
    const { send, sender, pass } = world();
    sender.next.push({ outcome: 'unknown', reason });
    const { words } = send();
    await pass(MINUTE);
    expect(sender.asked).toHaveLength(1);
    expect(words).toEqual([{ status: 'UNKNOWN', reason, resendable: true, after: 0 }]);
  });

  it('is not sent a second time when the sender breaks its word and rejects', async () => {
    const { send, sender, pass } = world();
    sender.send = async (message) => {
      sender.asked.push(message);
      throw new Error('broken');
    };
    const { words } = send();
    await pass(MINUTE);
    expect(sender.asked).toHaveLength(1);
    expect(words).toMatchObject([{ status: 'UNKNOWN', reason: 'NO_ANSWER' }]);
  });

  it.each([
    ['OPTED_OUT', '21610', false, false],
    ['COUNTRY_BLOCKED', '21408', true, false],
    ['NUMBER_INVALID', '21211', false, false],
    ['NO_ROUTE', '21612', false, false],
    ['SENDER_CONFIG', '20003', true, false],
  ])('is told as FAILED at once, %s by %s', async (reason, code, config, resendable) => {
    const { send, sender, pass, log, metrics } = world();
    sender.next.push({ outcome: 'rejected', reason, code, config });
    const { words } = send();
    await pass(MINUTE);
    expect(sender.asked).toHaveLength(1);
    expect(words).toEqual([{ status: 'FAILED', reason, resendable, after: 0 }]);
    expect(metrics.count('sms', 'failed', reason)).toBe(1);
    const alarms = log.lines.filter((line) => line.startsWith('error'));
    expect(alarms).toHaveLength(config ? 1 : 0);
    if (config) expect(alarms[0]).toContain(`"code":"${code}"`);
  });

  it('is told to be late within two seconds, however long the provider takes', async () => {
    const { send, sender, pass } = world();
    const { promise, resolve } = Promise.withResolvers<SendResult>();
    sender.next.push(promise);
    const { words } = send();
    await pass(1_400);
    expect(words).toEqual([]);
    await pass(600);
    expect(words).toEqual([{ ...QUEUED, reason: 'DELAYED', after: 1_500 }]);
    resolve({ outcome: 'accepted', providerId: 'SM1' });
    await pass(0);
    expect(words.at(-1)).toMatchObject({ status: 'SENT', reason: '' });
    await pass(MINUTE);
    expect(words).toHaveLength(2);
  });

  it('is told again what became of it, for as long as anybody waits, when the store was away', async () => {
    const { send, sender, pass, clock } = world();
    sender.next.push({ outcome: 'rejected', reason: 'UNREACHABLE', code: '30003', config: false });
    const words: SmsWord[] = [];
    let back = false;
    send({ told: async (word) => (back ? void words.push(word) : Promise.reject(new Error('the store is away'))) });
    await pass(5_000);
    back = true;
    await pass(5_000);
    expect(words).toEqual([{ status: 'FAILED', reason: 'UNREACHABLE', resendable: true }]);
    await pass(2 * MINUTE);
    expect([words.length, clock.pending]).toEqual([1, 0]);
  });

  it('is told to nobody any more once its time is up', async () => {
    const { send, pass } = world();
    let asked = 0;
    send({
      told: () => {
        asked += 1;
        return Promise.reject(new Error('the store is away'));
      },
    });
    await pass(MINUTE);
    const soFar = asked;
    await pass(5 * MINUTE);
    expect(asked).toBe(soFar);
    expect(asked).toBeLessThan(40);
  });

  it('is not lost when what became of it cannot be noted', async () => {
    const { send, log, pass, metrics } = world();
    send({ told: () => Promise.reject(new Error('the store is away')) });
    await pass(0);
    expect(log.lines).toEqual([expect.stringContaining('could not be noted')]);
    expect(metrics.count('smsWaiting')).toBe(0);
  });
});

describe('messages that wait', () => {
  it('are bounded: what is more is refused, and there is room again afterwards', async () => {
    const { send, sender, pass, delivery } = world({ maxWaiting: 20 });
    const { promise, resolve } = Promise.withResolvers<SendResult>();
    for (let count = 0; count < 20; count += 1) sender.next.push(promise);
    const sent = Array.from({ length: 25 }, () => send());
    expect(sent.filter(({ queued }) => queued)).toHaveLength(20);
    expect(delivery.isFull).toBe(true);
    await pass(0);
    expect(sender.asked.length).toBeLessThanOrEqual(16);
    resolve({ outcome: 'accepted', providerId: 'SM' });
    await pass(0);
    expect([delivery.isFull, sender.asked.length]).toEqual([false, 20]);
    expect(sent.map(({ words }) => words.length)).toEqual([...Array(20).fill(1), ...Array(5).fill(0)]);
  });

  it('are sent in their order, sixteen at a time, and none waits for one that is retried', async () => {
    const { send, sender, pass } = world();
    sender.next.push({ ...BUSY, afterMs: 10_000 });
    const first = send();
    for (let count = 0; count < 40; count += 1) send();
    await pass(100);
    expect(sender.asked).toHaveLength(41);
    expect(sender.asked.map(({ body }) => body)).toEqual(Array.from({ length: 41 }, (_, at) => `code ${at + 1}`));
    expect(first.words).toEqual([]);
  });

  it('give way to a newer message for the same challenge: the code in them is void', async () => {
    const { send, sender, pass } = world();
    sender.next.push({ ...BUSY, afterMs: 5_000 });
    const old = send({ bearerId: 'chl_same', body: 'old' });
    await pass(100);
    const newest = send({ bearerId: 'chl_same', body: 'newest' });
    await pass(30 * SECOND);
    expect(sender.asked.map(({ body }) => body)).toEqual(['old', 'newest']);
    expect(newest.words).toMatchObject([{ status: 'SENT' }]);
    expect(old.words).toEqual([]);
  });

  it('are not sent any more once nobody waits for them', async () => {
    const { send, sender, pass, metrics } = world();
    let wanted = true;
    sender.next.push({ ...BUSY, afterMs: 5_000 });
    const { words } = send({ wanted: async () => wanted });
    await pass(100);
    wanted = false;
    await pass(30 * SECOND);
    expect(sender.asked).toHaveLength(1);
    expect([words.at(-1)?.status, metrics.count('smsWaiting')]).toEqual(['QUEUED', 0]);
  });

  it('are sent when nobody can say whether they are wanted', async () => {
    const { send, sender, pass } = world();
    sender.next.push(BUSY);
    send({ wanted: () => Promise.reject(new Error('the store is away')) });
    await pass(5 * SECOND);
    expect(sender.asked).toHaveLength(2);
  });

  it('for so long that they would come too late are told as not sent', async () => {
    const { send, sender, pass, clock } = world();
    const { promise, resolve } = Promise.withResolvers<SendResult>();
    for (let count = 0; count < 16; count += 1) sender.next.push(promise);
    for (let count = 0; count < 16; count += 1) send();
    const { words } = send({ expiresAt: clock.now() + 10 * SECOND });
    await pass(5 * SECOND);
    resolve({ outcome: 'accepted', providerId: 'SM' });
    await pass(0);
    expect(sender.asked).toHaveLength(16);
    expect(words.at(-1)).toMatchObject({ status: 'FAILED', reason: 'TOO_LATE', resendable: false });
  });
});

describe('a stop', () => {
  it('tells what waits as not sent, lets what is being sent finish, and takes nothing more', async () => {
    const { send, sender, pass, delivery, clock } = world();
    sender.next.push({ ...BUSY, afterMs: 20_000 });
    const waiting = send();
    await pass(0);
    const { promise, resolve } = Promise.withResolvers<SendResult>();
    sender.next.push(promise);
    const sending = send();
    await settle();
    const stopped = delivery.stop();
    expect(send().queued).toBe(false);
    await settle();
    expect(waiting.words).toMatchObject([{ status: 'FAILED', reason: 'STOPPING', resendable: true }]);
    resolve({ outcome: 'accepted', providerId: 'SM1' });
    await stopped;
    expect(sending.words).toMatchObject([{ status: 'SENT' }]);
    expect([sender.asked.length, clock.pending]).toEqual([2, 0]);
  });

  it('takes no longer than a second: what is still being sent is told as unknown, once', async () => {
    const { send, sender, pass, delivery } = world();
    const { promise, resolve } = Promise.withResolvers<SendResult>();
    sender.next.push(promise);
    const { words } = send();
    await settle();
    const stopped = delivery.stop();
    await pass(1_000);
    await stopped;
    expect(words).toMatchObject([{ status: 'UNKNOWN', reason: 'NO_ANSWER', resendable: true }]);
    resolve({ outcome: 'accepted', providerId: 'SM1' });
    await pass(MINUTE);
    expect(words).toHaveLength(1);
  });

  it('retries nothing', async () => {
    const { send, sender, delivery } = world();
    const { promise, resolve } = Promise.withResolvers<SendResult>();
    sender.next.push(promise);
    const { words } = send();
    await settle();
    const stopped = delivery.stop();
    resolve(BUSY);
    await stopped;
    expect(words).toMatchObject([{ status: 'FAILED', reason: 'PROVIDER_BUSY', resendable: true }]);
    expect(sender.asked).toHaveLength(1);
  });
});
