import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { systemRandom } from '#src/adapters/system.ts';
import { ensureVapidKey, type VapidKey } from '#src/adapters/webpush/vapid-key.ts';
import { type WebPushOptions, WebPushSender } from '#src/adapters/webpush/web-push-sender.ts';
import { Fault } from '#src/domain/faults.ts';
import type { PushKey } from '#src/ports/push-key-store.ts';
import type { PushSubscription } from '#src/ports/senders.ts';
import { type Certificates, makeCertificates } from '../../../scripts/servers/certificates.ts';
import { PushServiceStandIn } from '../../support/push-service-stand-in.ts';
import { took } from '../../support/running-time.ts';

const SUBJECT = 'mailto:security@example.com';
let folder: string;
let certificates: Certificates;
let service: PushServiceStandIn;
let key: VapidKey;
const senders: WebPushSender[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-push-'));
  certificates = makeCertificates(folder);
  service = await PushServiceStandIn.start(certificates.server);
  key = await newKey();
});
afterEach(() => {
  service.next();
  service.always(undefined);
  service.deliveries.length = 0;
  service.refusals.length = 0;
  service.requests = 0;
  for (const sender of senders.splice(0)) sender[Symbol.dispose]();
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function newKey(): Promise<VapidKey> {
  let kept: PushKey | undefined;
  const store = { read: async () => kept, ensure: async (candidate: PushKey) => (kept ??= candidate) };
  const box = new AesGcmSecretBox({ ring: createKeyRing(systemRandom), random: systemRandom });
  return ensureVapidKey({ store, box, now: 1 });
}

function senderWith(over: Partial<WebPushOptions> = {}): WebPushSender {
  const sender = new WebPushSender({
    key: async () => key,
    subject: SUBJECT,
    hosts: ['localhost'],
    allowPrivateHosts: true,
    ca: readFileSync(certificates.caFile, 'utf8'),
    timeoutMs: 10_000,
    ...over,
  });
  senders.push(sender);
  return sender;
}

function send(sender: WebPushSender, subscription: PushSubscription, payload = 'hello') {
  const { endpoint, p256dh, auth } = subscription;
  return sender.send({
    subscription: { endpoint, p256dh, auth },
    payload: Buffer.from(payload),
    ttlMs: 42_900,
    topic: 'a-topic_1',
  });
}

describe('what is sent', () => {
  it('decrypts at the service, with the time left, the topic, high urgency and a VAPID token of at most a day', async () => {
    const sender = senderWith();
    const subscription = service.subscribe(await sender.publicKey());
    expect(await send(sender, subscription)).toEqual({ outcome: 'accepted', providerId: '' });
    const [delivery] = service.deliveries;
    expect(delivery).toMatchObject({
      endpoint: subscription.endpoint,
      text: 'hello',
      ttlSeconds: 42,
      topic: 'a-topic_1',
      urgency: 'high',
      vapid: { aud: service.origin, sub: SUBJECT, key: await sender.publicKey() },
    });
    expect((delivery?.vapid.exp ?? 0) - Date.now() / 1000).toBeLessThanOrEqual(3_600);
    expect(service.refusals).toEqual([]);
  });

  it('goes out to two hundred browsers at once, each encrypted for its own', async () => {
    const sender = senderWith({ timeoutMs: 15_000 });
    const all = Array.from({ length: 200 }, (_, index) => ({ at: service.subscribe(), text: `for ${index}` }));
    const results = await Promise.all(all.map(({ at, text }) => send(sender, at, text)));
    expect(results.every(({ outcome }) => outcome === 'accepted')).toBe(true);
    const got = new Map(service.deliveries.map(({ endpoint, text }) => [endpoint, text]));
    expect(all.map(({ at }) => got.get(at.endpoint))).toEqual(all.map(({ text }) => text));
  });

  it('is refused by a service that the browser subscribed to with another key', async () => {
    const other = await newKey();
    const result = await send(senderWith(), service.subscribe(other.publicKey));
    expect(result).toEqual({ outcome: 'rejected', reason: 'VAPID', code: '403', config: true });
  });

  it('is never more than a kilobyte, whatever the service would take', async () => {
    const result = await send(senderWith(), service.subscribe(), 'x'.repeat(1_025));
    expect(result).toMatchObject({ outcome: 'rejected', reason: 'TOO_LARGE' });
    expect(service.requests).toBe(0);
  });
});

describe('what the service says', () => {
  it.each([
    [404, { outcome: 'gone' }],
    [410, { outcome: 'gone' }],
    [400, { outcome: 'rejected', reason: 'VAPID', code: '400', config: true }],
    [401, { outcome: 'rejected', reason: 'VAPID', code: '401', config: true }],
    [413, { outcome: 'rejected', reason: 'TOO_LARGE', code: '413', config: false }],
    [418, { outcome: 'rejected', reason: 'REFUSED', code: '418', config: false }],
    [429, { outcome: 'retry', reason: 'RATE_LIMITED', afterMs: undefined }],
    [406, { outcome: 'retry', reason: 'RATE_LIMITED', afterMs: undefined }],
    [500, { outcome: 'retry', reason: 'PROVIDER_DOWN', afterMs: undefined }],
    [503, { outcome: 'retry', reason: 'PROVIDER_DOWN', afterMs: undefined }],
  ])('%i is told apart', async (status, expected) => {
    service.next({ status, body: 'why' });
    expect(await send(senderWith(), service.subscribe())).toEqual(expected);
  });

  it('Retry-After counts in seconds and as a date', async () => {
    const at = service.subscribe();
    service.next({ status: 429, headers: { 'retry-after': '7' } });
    expect(await send(senderWith(), at)).toMatchObject({ outcome: 'retry', afterMs: 7_000 });
    service.next({ status: 503, headers: { 'retry-after': new Date(Date.now() + 100_000).toUTCString() } });
    const dated = await send(senderWith(), at);
    expect('afterMs' in dated && dated.afterMs).toBeGreaterThan(80_000);
    expect('afterMs' in dated && dated.afterMs).toBeLessThanOrEqual(100_000);
    service.next({ status: 429, headers: { 'retry-after': 'soon' } });
    expect(await send(senderWith(), at)).toMatchObject({ outcome: 'retry', afterMs: undefined });
  });

  it('a redirect is not followed, wherever it leads', async () => {
    const elsewhere = service.subscribe();
    for (const status of [301, 302, 307, 308]) {
      service.next({ status, headers: { location: elsewhere.endpoint } });
      const result = await send(senderWith(), service.subscribe());
      expect(result).toEqual({ outcome: 'rejected', reason: 'REDIRECTED', code: String(status), config: false });
    }
    expect(service.requests).toBe(4);
    expect(service.deliveries).toEqual([]);
  });

  it('silence ends at the time-out, and so does an answer that comes byte by byte', async () => {
    // Enough for a handshake on a machine that is held up: before it, nothing is surely sent.
    const sender = senderWith({ timeoutMs: 1_000 });
    for (const trouble of ['hang', 'trickle'] as const) {
      service.next(trouble);
      const subscription = service.subscribe();
      const { ms } = await took(async () =>
        expect(await send(sender, subscription)).toEqual({ outcome: 'unknown', reason: 'NO_ANSWER' }),
      );
      expect(ms).toBeLessThan(1_600);
    }
  });

  it('a connection that is cut after the request leaves it unknown; one that was never made, surely not sent', async () => {
    service.next('reset');
    expect(await send(senderWith(), service.subscribe())).toEqual({ outcome: 'unknown', reason: 'NO_ANSWER' });
    const nowhere = { ...service.subscribe(), endpoint: 'https://localhost:1/push' };
    expect(await send(senderWith(), nowhere)).toMatchObject({ outcome: 'retry', reason: 'PROVIDER_DOWN' });
  });

  it('a body without end is not read to its end', async () => {
    service.next('endless');
    const sender = senderWith({ timeoutMs: 15_000 });
    expect(await send(sender, service.subscribe())).toMatchObject({ outcome: 'accepted' });
    await expect.poll(() => service.openConnections, { timeout: 5_000 }).toBe(0);
  });

  it('a body that comes drop by drop is not waited for', async () => {
    service.next('drip');
    const sender = senderWith({ timeoutMs: 2_000 });
    expect(await send(sender, service.subscribe())).toMatchObject({ outcome: 'accepted' });
    await expect.poll(() => service.openConnections, { timeout: 10_000 }).toBe(0);
  });
});

describe('whom it speaks to', () => {
  it('is nobody without a certificate of a trusted authority, for the right name', async () => {
    const stranger = senderWith({ ca: readFileSync(certificates.otherCaFile, 'utf8') });
    const result = await send(stranger, service.subscribe());
    expect(result).toMatchObject({ outcome: 'rejected', reason: 'TLS', config: true });
    await using misnamed = await PushServiceStandIn.start(certificates.wrongName);
    const named = await send(senderWith(), misnamed.subscribe());
    expect(named).toMatchObject({ outcome: 'rejected', reason: 'TLS', code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    expect(service.requests + misnamed.requests).toBe(0);
  });

  it('is only who the settings name, asked again with every send', async () => {
    const subscription = service.subscribe();
    const result = await send(senderWith({ hosts: ['fcm.googleapis.com'] }), subscription);
    expect(result).toMatchObject({ outcome: 'rejected', reason: 'HOST_REFUSED' });
    expect(service.requests).toBe(0);
  });

  it.each([
    ['https://fcm.googleapis.com/fcm/send/x', undefined],
    ['https://web.push.apple.com/Q', undefined],
    ['https://a.b.push.apple.com/Q', undefined],
    ['https://push.apple.com/Q', 'is at no push service that the settings name'],
    ['https://evilpush.apple.com/Q', 'is at no push service that the settings name'],
    ['https://fcm.googleapis.com.evil.example/x', 'is at no push service that the settings name'],
    ['https://fcm.googleapis.com@evil.example/x', 'has a user or password in it'],
    ['https://evil.example#fcm.googleapis.com', 'is at no push service that the settings name'],
    ['http://fcm.googleapis.com/x', 'is no https URL'],
    ['https://fcm.googleapis.com:8443/x', 'is at another port than 443'],
    ['https://127.0.0.1/x', 'is at an address that is not public'],
    ['https://2130706433/x', 'is at an address that is not public'],
    ['https://0x7f.1/x', 'is at an address that is not public'],
    ['https://[::ffff:127.0.0.1]/x', 'is at an address that is not public'],
    ['not a URL', 'is no https URL'],
  ])('%s: %s', (endpoint, expected) => {
    const hosts = ['fcm.googleapis.com', '*.push.apple.com', '127.0.0.1', '[::ffff:7f00:1]'];
    expect(senderWith({ hosts, allowPrivateHosts: false }).refusal(endpoint)).toBe(expected);
  });

  it('is nobody inside: the addresses that the connection would take are looked at, once, as it is made', async () => {
    const answers = [
      [{ address: '127.0.0.1', family: 4 }],
      [
        { address: '8.8.8.8', family: 4 },
        { address: '10.0.0.1', family: 4 },
      ],
      [{ address: '::ffff:169.254.169.254', family: 6 }],
      [],
    ];
    for (const answer of answers) {
      let asked = 0;
      const resolve = async () => {
        asked += 1;
        // Whoever looks a second time, to check or to connect, gets another answer than the first time.
        return asked === 1 ? answer : [{ address: '127.0.0.1', family: 4 }];
      };
      const sender = senderWith({ hosts: ['push.example.com'], allowPrivateHosts: false, resolve });
      const result = await send(sender, { ...service.subscribe(), endpoint: 'https://push.example.com/x' });
      expect(result).toMatchObject({ outcome: 'rejected', reason: 'ADDRESS_REFUSED' });
      expect(asked).toBe(1);
    }
  });

  it('is nobody while names cannot be resolved', async () => {
    const resolve = () => Promise.reject(Object.assign(new Error('no'), { code: 'EAI_AGAIN' }));
    const sender = senderWith({ hosts: ['push.example.com'], allowPrivateHosts: false, resolve });
    const result = await send(sender, { ...service.subscribe(), endpoint: 'https://push.example.com/x' });
    expect(result).toEqual({ outcome: 'retry', reason: 'PROVIDER_DOWN', afterMs: undefined });
  });

  it('is waited for no longer than the time-out when a name server says nothing', async () => {
    const sender = senderWith({
      hosts: ['push.example.com'],
      allowPrivateHosts: false,
      timeoutMs: 200,
      resolve: () => new Promise(() => {}),
    });
    const { ms } = await took(async () => {
      const result = await send(sender, { ...service.subscribe(), endpoint: 'https://push.example.com/x' });
      expect(result).toMatchObject({ outcome: 'retry', reason: 'PROVIDER_DOWN' });
    });
    expect(ms).toBeLessThan(800);
  });
});

describe('the key', () => {
  it('that cannot be read leaves a message for later; it is asked for again, and kept once it is there', async () => {
    let asked = 0;
    const sender = senderWith({
      key: async () => {
        asked += 1;
        if (asked === 1) throw new Fault('unavailable', 'STORE_UNAVAILABLE', 'away');
        if (asked === 2) throw new Fault('data-loss', 'INTEGRITY', 'altered');
        return key;
      },
    });
    const at = service.subscribe();
    expect(await send(sender, at)).toEqual({ outcome: 'retry', reason: 'KEY_AWAY', afterMs: undefined });
    expect(await send(sender, at)).toMatchObject({ outcome: 'rejected', reason: 'KEY_DAMAGED', config: true });
    for (let round = 0; round < 3; round++) expect(await send(sender, at)).toMatchObject({ outcome: 'accepted' });
    expect(asked).toBe(3);
  });

  it('is made once, and only who made it says so', async () => {
    let kept: PushKey | undefined;
    const store = { read: async () => kept, ensure: async (candidate: PushKey) => (kept ??= candidate) };
    const box = new AesGcmSecretBox({ ring: createKeyRing(systemRandom), random: systemRandom });
    const said: string[] = [];
    const made = async (publicKey: string) => void said.push(publicKey);
    await Promise.all(Array.from({ length: 8 }, () => ensureVapidKey({ store, box, now: 1, made })));
    expect(said).toEqual([kept?.publicKey]);
  });

  it('is one for all that ask at once, and stays', async () => {
    let kept: PushKey | undefined;
    const store = { read: async () => kept, ensure: async (candidate: PushKey) => (kept ??= candidate) };
    const box = new AesGcmSecretBox({ ring: createKeyRing(systemRandom), random: systemRandom });
    const all = await Promise.all(Array.from({ length: 8 }, () => ensureVapidKey({ store, box, now: 1 })));
    expect(new Set(all.map(({ publicKey, privateKey }) => `${publicKey} ${privateKey}`)).size).toBe(1);
    expect(Buffer.from(all[0]?.publicKey ?? '', 'base64url')).toHaveLength(65);
    expect(Buffer.from(kept?.sealedPrivate ?? []).toString('base64url')).not.toContain(all[0]?.privateKey);
  });

  it('is not used when somebody has put another public half beside it', async () => {
    const box = new AesGcmSecretBox({ ring: createKeyRing(systemRandom), random: systemRandom });
    let kept: PushKey | undefined;
    const store = { read: async () => kept, ensure: async (candidate: PushKey) => (kept ??= candidate) };
    await ensureVapidKey({ store, box, now: 1 });
    const other = await newKey();
    kept = { ...(kept as unknown as PushKey), publicKey: other.publicKey };
    await expect(ensureVapidKey({ store, box, now: 1 })).rejects.toMatchObject({ reason: 'INTEGRITY' });
  });
});

describe('what comes back', () => {
  it('never names the endpoint, a key or what the service said', async () => {
    const sender = senderWith({ timeoutMs: 300 });
    const subscription = service.subscribe();
    const replies = [{ status: 400, body: subscription.endpoint }, { status: 500 }, 'hang', 'reset'] as const;
    for (const reply of replies) {
      service.next(reply);
      const text = JSON.stringify(await send(sender, subscription));
      for (const secret of [subscription.endpoint, subscription.auth, key.privateKey, 'localhost'])
        expect(text).not.toContain(secret);
    }
    const unreadable = { ...subscription, p256dh: 'AAAA' };
    expect(await send(sender, unreadable)).toEqual({
      outcome: 'rejected',
      reason: 'UNSENDABLE',
      code: '',
      config: false,
    });
  });
});
