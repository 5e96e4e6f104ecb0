import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Fault } from '#src/domain/faults.ts';
import { pushViewBytes } from '#src/domain/push-message.ts';
import { publicAssets } from '#src/gen/public/assets.js';
import { assetRoutes } from '#src/transport/public/asset-routes.ts';
import type { NotMe, SmsCallbacks, TwilioCallback } from '#src/transport/public/contract.ts';
import { jsonApi } from '#src/transport/public/json-api.ts';
import { keySet } from '#src/transport/public/key-set.ts';
import { notMeRoutes } from '#src/transport/public/not-me-routes.ts';
import { pushRoutes } from '#src/transport/public/push-routes.ts';
import { twilioCallback } from '#src/transport/public/twilio-callback.ts';
import { FakePushDevices } from '../../support/fake-push-devices.ts';
import { servePublic } from '../../support/public-listener.ts';
import { RecordingLog } from '../../support/recording-telemetry.ts';

const ORIGIN = 'https://auth.example';
const OWN = { 'content-type': 'application/json', origin: ORIGIN };

async function serve() {
  const devices = new FakePushDevices('B'.repeat(87));
  const callbacks: TwilioCallback[] = [];
  let jwks: () => Promise<unknown> = async () => ({ keys: [] });
  const sms: SmsCallbacks = {
    receive: async (_visit, callback) => {
      callbacks.push(callback);
      if (callback.signature === 'later') throw new Fault('unavailable', 'STORE_UNAVAILABLE', 'away');
      return callback.signature === 'right';
    },
  };
  const locked: string[] = [];
  const notMe: NotMe = {
    view: async (_visit, token) =>
      token === 'good' ? { type: 'factor.enrolled', at: 5, done: locked.length > 0 } : undefined,
    confirm: async (_visit, token) => {
      if (token !== 'good') return false;
      locked.push(token);
      return true;
    },
  };
  const log = new RecordingLog();
  const api = jsonApi({ origin: ORIGIN, log });
  const listener = await servePublic([
    ...assetRoutes(publicAssets),
    ...pushRoutes({ devices, appName: 'Harbour Bank', api }),
    ...notMeRoutes(notMe, api),
    twilioCallback(sms, ORIGIN),
    keySet(() => jwks(), log),
  ]);
  const post = async (path: string, body: unknown, headers: Record<string, string> = OWN) => {
    const sent = typeof body === 'string' ? body : JSON.stringify(body);
    const answer = await fetch(`${listener.url}${path}`, { method: 'POST', headers, body: sent });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, value: text.startsWith('{') ? JSON.parse(text) : text };
  };
  return {
    devices,
    callbacks,
    locked,
    listener,
    log,
    post,
    setJwks: (made: () => Promise<unknown>) => {
      jwks = made;
    },
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  };
}

describe('what pages ask for', () => {
  it('is answered to pages of this origin only, before the body is looked at', async () => {
    await using world = await serve();
    const strangers: readonly Record<string, string>[] = [
      { ...OWN, origin: 'https://evil.example' },
      { ...OWN, origin: 'null' },
      { ...OWN, origin: 'https://auth.example.evil.example' },
      { ...OWN, origin: 'http://auth.example' },
      { ...OWN, 'sec-fetch-site': 'same-site' },
      { ...OWN, 'sec-fetch-site': 'cross-site' },
      { 'content-type': 'application/json' },
    ];
    for (const headers of strangers) {
      const answer = await world.post('/not-me/api/confirm', { token: 'good' }, headers);
      expect([headers, answer.status, answer.value]).toEqual([headers, 403, { error: 'foreign' }]);
    }
    expect(world.locked).toEqual([]);
    expect((await world.post('/not-me/api/confirm', { token: 'good' })).value).toEqual({ locked: true });
    const same = { ...OWN, 'sec-fetch-site': 'same-origin' };
    expect((await world.post('/not-me/api/confirm', { token: 'good' }, same)).status).toBe(200);
  });

  it('is JSON that was sent as JSON', async () => {
    await using world = await serve();
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', '']) {
      const answer = await world.post('/not-me/api/confirm', '{"token":"good"}', { ...OWN, 'content-type': type });
      expect(answer.status).toBe(415);
    }
    const bad = ['', 'null', '[]', '"good"', '{"token":"good"', '{"token":1}', '{}', '{"__proto__":{"token":"good"}}'];
    for (const body of [...bad, `{"token":"${'x'.repeat(3_000)}"}`, '{"token":"\\ud800"}'])
      expect([body, (await world.post('/not-me/api/confirm', body)).value]).toEqual([body, { error: 'invalid' }]);
    expect(world.locked).toEqual([]);
  });

  it('is refused in words that tell a stranger nothing', async () => {
    await using world = await serve();
    const made = { ticket: 'ticket-1', subscription: '{}', publicKey: 'AA' };
    const cases: readonly (readonly [Error, number, unknown])[] = [
      [new Fault('precondition', 'ENROLLMENT_EXPIRED', 'x'), 410, { error: 'expired' }],
      [new Fault('invalid', 'FIELD_INVALID', 'x'), 400, { error: 'invalid' }],
      [new Fault('invalid', 'PROOF_REFUSED', 'x'), 403, { error: 'refused' }],
      [new Fault('denied', 'POLICY_DENIED', 'x'), 403, { error: 'refused' }],
      [new Fault('not-found', 'FACTOR_NOT_FOUND', 'x'), 403, { error: 'refused' }],
      [new Fault('exists', 'FACTOR_EXISTS', 'x'), 403, { error: 'refused' }],
      [new Fault('limited', 'LIMIT_EXCEEDED', 'x', { retryAfterMs: 1_500 }), 429, { error: 'limited' }],
      [new Fault('unavailable', 'STORE_UNAVAILABLE', 'x'), 503, { error: 'unavailable' }],
    ];
    for (const [fault, status, value] of cases) {
      world.devices.next = fault;
      const answer = await world.post('/push/api/enroll', made);
      expect([fault.message, answer.status, answer.value]).toEqual([fault.message, status, value]);
      if (status === 429) expect(answer.headers.get('retry-after')).toBe('2');
    }
    world.devices.next = new Error('planted-cause');
    const failed = await world.post('/push/api/enroll', made);
    expect([failed.status, failed.value.error]).toEqual([500, 'failed']);
    expect(JSON.stringify(failed.value)).not.toContain('planted-cause');
    expect(failed.value.errorId).toBe(failed.headers.get('x-request-id'));
  });

  it('comes from a caller who may know nothing, at the address that is believed', async () => {
    await using world = await serve();
    await world.post('/push/api/enroll', { ticket: 't', subscription: '{}', publicKey: 'AA' });
    const [visit] = world.devices.visits;
    expect([visit?.caller.name, [...(visit?.caller.roles ?? [])]]).toEqual(['public', ['portal']]);
    expect(visit?.client.ipAddress).toBe('127.0.0.1');
  });

  it('sets no cookie, opens nothing to other origins, and is kept by nobody', async () => {
    await using world = await serve();
    const answer = await world.post('/not-me/api/view', { token: 'good' }, { ...OWN, cookie: 'a=b' });
    expect(answer.value).toEqual({ found: true, type: 'factor.enrolled', at: 5, done: false });
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect([...answer.headers.keys()].filter((name) => /^access-control|^set-cookie/.test(name))).toEqual([]);
  });
});

describe('a push device', () => {
  it('is shown what it signed for, and nothing else', async () => {
    await using world = await serve();
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const spki = publicKey.export({ type: 'spki', format: 'der' });
    const point = spki.subarray(26);
    const subscription = JSON.stringify({
      endpoint: 'https://push.example/send/1',
      keys: { p256dh: point.toString('base64url'), auth: randomBytes(16).toString('base64url') },
    });
    const made = { ticket: 'ticket-1', subscription, publicKey: spki.toString('base64url') };
    const es256 = (bytes: Uint8Array) =>
      sign('sha256', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url');
    const { value: device } = await world.post('/push/api/enroll', made);
    const signature = es256(Buffer.from(device.challenge, 'base64url'));
    const bent = `${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`;
    expect((await world.post('/push/api/confirm', { ...made, signature: bent })).status).toBe(403);
    expect((await world.post('/push/api/confirm', { ...made, signature })).value.displayName).toBe('Chromium');

    world.devices.open('chl_1', [['amount', '10']], '42');
    const named = { challengeId: 'chl_1', factorId: device.factorId, realm: device.realm };
    const at = Date.now();
    const signed = { ...named, at, signature: es256(pushViewBytes({ ...named, issuedAt: at })) };
    const view = await world.post('/push/api/view', signed);
    expect(view.value).toMatchObject({ found: true, digits: 2, details: [['amount', '10']] });
    expect(JSON.stringify(view.value)).not.toContain('"42"');
    expect((await world.post('/push/api/view', { ...signed, challengeId: 'chl_2' })).value).toEqual({ found: false });
    const unsigned = { ...named, number: '42', approve: true, notMe: false, signature };
    expect((await world.post('/push/api/answer', unsigned)).value).toEqual({ outcome: 'refused' });
  });

  it('learns from the listener by which key to subscribe, and whom it serves', async () => {
    await using world = await serve();
    const answer = await fetch(`${world.listener.url}/push/config.json`);
    expect(await answer.json()).toEqual({ appName: 'Harbour Bank', applicationServerKey: 'B'.repeat(87) });
  });
});

describe('the link "this was not me"', () => {
  it('changes nothing by being opened, whatever is behind it', async () => {
    await using world = await serve();
    for (const path of ['/not-me', '/not-me?token=good', '/not-me/api/confirm?token=good'])
      await (await fetch(`${world.listener.url}${path}`)).text();
    await world.post('/not-me/api/view', { token: 'good' });
    expect(world.locked).toEqual([]);
    expect((await world.post('/not-me/api/view', { token: 'bad' })).value).toEqual({ found: false });
    expect((await world.post('/not-me/api/confirm', { token: 'bad' })).value).toEqual({ locked: false });
  });
});

describe('a callback of Twilio', () => {
  const TYPE = { 'content-type': 'application/x-www-form-urlencoded' };

  it('is handed on with the URL as Twilio knows it, its signature, and its parameters in their order', async () => {
    await using world = await serve();
    const body = 'MessageSid=SM1&MessageStatus=delivered&To=%2B14155550100&New=a+b&New=c';
    const headers = { ...TYPE, 'x-twilio-signature': 'right', host: 'evil.example', origin: 'https://evil.example' };
    const answer = await world.post('/callbacks/twilio?d=dlv_1&x=%20', body, headers);
    expect([answer.status, answer.value]).toEqual([204, '']);
    expect(world.callbacks).toEqual([
      {
        url: 'https://auth.example/callbacks/twilio?d=dlv_1&x=%20',
        signature: 'right',
        params: [
          ['MessageSid', 'SM1'],
          ['MessageStatus', 'delivered'],
          ['To', '+14155550100'],
          ['New', 'a b'],
          ['New', 'c'],
        ],
      },
    ]);
  });

  it('is refused without the signature, with a wrong one, and with too much; asked for again when not now', async () => {
    await using world = await serve();
    const status = async (signature: string | undefined, body = 'MessageSid=SM1') => {
      const headers = signature === undefined ? TYPE : { ...TYPE, 'x-twilio-signature': signature };
      return (await world.post('/callbacks/twilio', body, headers)).status;
    };
    expect([await status(undefined), world.callbacks.length]).toEqual([403, 0]);
    expect(await status('wrong')).toBe(403);
    expect(await status('right', 'a=b&'.repeat(200))).toBe(403);
    expect(await status('right', `a=${'x'.repeat(17_000)}`)).toBe(413);
    expect(await status('later')).toBe(503);
    expect((await fetch(`${world.listener.url}/callbacks/twilio`)).status).toBe(405);
  });
});

describe('the key set', () => {
  it('is public and may be kept for five minutes; an outage is said so', async () => {
    await using world = await serve();
    const answer = await fetch(`${world.listener.url}/.well-known/jwks.json`);
    expect([answer.status, answer.headers.get('cache-control')]).toEqual([200, 'public, max-age=300']);
    expect(answer.headers.get('content-type')).toBe('application/jwk-set+json');
    world.setJwks(() => Promise.reject(new Error('away')));
    expect((await fetch(`${world.listener.url}/.well-known/jwks.json`)).status).toBe(503);
  });
});

describe('pages and their parts', () => {
  it('are asked for each time, and not sent again when nothing changed', async () => {
    await using world = await serve();
    for (const { path, contentType } of publicAssets) {
      const first = await fetch(`${world.listener.url}${path}`);
      await first.arrayBuffer();
      expect([path, first.status, first.headers.get('content-type')]).toEqual([path, 200, contentType]);
      expect(first.headers.get('cache-control')).toBe('no-cache');
      const headers = { 'if-none-match': `"other", W/${first.headers.get('etag')}` };
      expect((await fetch(`${world.listener.url}${path}`, { headers })).status).toBe(304);
    }
  });

  it('load scripts and style only by the content security policy of a page', async () => {
    await using world = await serve();
    const policy = async (path: string) =>
      (await fetch(`${world.listener.url}${path}`)).headers.get('content-security-policy');
    expect(await policy('/push/enroll')).toContain("script-src 'self'");
    expect(await policy('/push/sw.js')).toContain("default-src 'none'");
    expect(await policy('/push/sw.js')).not.toContain('script-src');
  });
});
