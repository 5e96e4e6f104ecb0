import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { API_SERVICES } from '#src/transport/methods.ts';
import { freePort } from '../../../scripts/servers/free-port.ts';
import { Sidecar } from '../../support/sidecar.ts';

/** The built program with its public listener, attacked by somebody who reaches nothing else. */
let sidecar: Sidecar;
let url: string;
let port: number;

beforeAll(async () => {
  port = await freePort();
  url = `http://localhost:${port}`;
  sidecar = await Sidecar.start({
    env: {
      MFA_METHODS: '["push","totp","sms","backup_code"]',
      TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
      TWILIO_AUTH_TOKEN: 'planted-auth-token',
      TWILIO_FROM_NUMBER: '+15005550006',
      SALLYPORT_PUSH_SUBJECT: 'mailto:security@example.com',
      SALLYPORT_LISTENERS_PUBLIC_ADDRESS: `127.0.0.1:${port}`,
      SALLYPORT_LISTENERS_PUBLIC_URL: url,
      SALLYPORT_LOG_LEVEL: 'debug',
    },
  });
});
afterAll(() => sidecar[Symbol.asyncDispose]());

const post = (path: string, body: string, headers: Readonly<Record<string, string>>) =>
  fetch(`${url}${path}`, { method: 'POST', body, headers });
const OWN = () => ({ 'content-type': 'application/json', origin: url });

describe('what a stranger reaches', () => {
  it('is said at the start, with its address', async () => {
    await expect.poll(() => sidecar.stdout).toContain(`public  http://127.0.0.1:${port}`);
  });

  it('is no call of the API, no probe and no metric, whatever header or token is shown', async () => {
    const headers = {
      'content-type': 'application/json',
      'x-sallyport-client': 'browser',
      authorization: `Bearer ${sidecar.operatorToken}`,
    };
    const calls = API_SERVICES.flatMap(({ typeName, methods }) => methods.map(({ name }) => `/${typeName}/${name}`));
    for (const path of [...calls, '/grpc.health.v1.Health/Check', '/metrics', '/livez', '/readyz', '/']) {
      const answer = await post(path, '{}', headers);
      expect([path, answer.status]).toEqual([path, 404]);
      await answer.text();
    }
  });

  it('is the keys of receipts and the pages, under the headers that are promised', async () => {
    const keys = (await (await fetch(`${url}/.well-known/jwks.json`)).json()) as { readonly keys: readonly object[] };
    expect(keys.keys.length).toBeGreaterThan(0);
    expect(JSON.stringify(keys)).not.toContain('"d"');
    for (const path of ['/push/enroll', '/push/approve', '/not-me', '/assets/enroll.js', '/push/sw.js']) {
      const answer = await fetch(`${url}${path}`);
      expect([path, answer.status]).toEqual([path, 200]);
      expect(answer.headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
      expect(await answer.text()).not.toMatch(/127\.0\.0\.1|planted/);
    }
    expect((await fetch(`${url}/push/sw.js`)).headers.get('service-worker-allowed')).toBe('/push/');
  });

  it('grants nothing to forged tickets, signatures, tokens and callbacks', async () => {
    const key = Buffer.alloc(91, 1).toString('base64url');
    const made = { ticket: `ZGVmYXVsdA.fac_${'0'.repeat(26)}.${'A'.repeat(43)}`, subscription: '{}', publicKey: key };
    const enrolled = await post('/push/api/enroll', JSON.stringify(made), OWN());
    expect([enrolled.status, await enrolled.json()]).toEqual([410, { error: 'expired' }]);
    const named = { realm: 'default', factorId: `fac_${'0'.repeat(26)}`, challengeId: `chl_${'0'.repeat(26)}` };
    const signature = Buffer.alloc(64, 1).toString('base64url');
    const view = await post('/push/api/view', JSON.stringify({ ...named, at: Date.now(), signature }), OWN());
    expect(await view.json()).toEqual({ found: false });
    const said = { ...named, number: '42', approve: true, notMe: false, signature };
    expect(await (await post('/push/api/answer', JSON.stringify(said), OWN())).json()).toEqual({ outcome: 'refused' });
    const notMe = await post('/not-me/api/confirm', JSON.stringify({ token: 'A'.repeat(200) }), OWN());
    expect(await notMe.json()).toEqual({ locked: false });
    const type = { 'content-type': 'application/x-www-form-urlencoded' };
    const callback = 'MessageSid=SM1&MessageStatus=delivered';
    expect((await post('/callbacks/twilio?about=x', callback, type)).status).toBe(403);
    const forged = { ...type, 'x-twilio-signature': 'A'.repeat(27).concat('=') };
    expect((await post('/callbacks/twilio?about=x', callback, forged)).status).toBe(403);
  });

  it('is sent nowhere else, whatever an address names as the place to go on', async () => {
    const places = [
      'https://evil.example',
      '//evil.example',
      'http:evil',
      '/\\evil.example',
      'https://auth@evil.example',
    ];
    const names = ['return_to', 'redirect_uri', 'next', 'url', 'continue'];
    for (const path of ['/push/enroll', '/push/approve', '/not-me']) {
      const plain = await (await fetch(`${url}${path}`)).text();
      for (const place of places) {
        const query = names.map((name) => `${name}=${encodeURIComponent(place)}`).join('&');
        const answer = await fetch(`${url}${path}?${query}`, { redirect: 'manual' });
        expect([place, answer.status, answer.headers.get('location')]).toEqual([place, 200, null]);
        expect(await answer.text()).toBe(plain);
      }
    }
  });

  it('leaves no token, ticket, path or address in log, output and metrics', async () => {
    await (await fetch(`${url}/planted-path?planted-query`)).text();
    await (await post('/not-me/api/view', JSON.stringify({ token: 'planted-token' }), OWN())).text();
    const metrics = await (await fetch(`${sidecar.adminUrl}/metrics`)).text();
    expect(metrics).toContain('sallyport_public_request_duration_seconds_count{http_route="/not-me/api/view"');
    expect(metrics).toContain('http_route="_OTHER"');
    expect(`${metrics}${sidecar.stdout}${sidecar.stderr}`).not.toContain('planted');
    expect(sidecar.stderr).toContain('public request');
  });

  it('cannot hold up the application: floods of every kind end, and its calls go on', async () => {
    const client = sidecar.client();
    const open = () => {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => {});
      socket.resume();
      return { socket, closed: new Promise((resolve) => socket.once('close', resolve)) };
    };
    const held = Array.from({ length: 300 }, open);
    for (const [index, { socket }] of held.entries()) {
      if (index % 3 === 0) socket.write(`GET /push/enroll HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}`);
      if (index % 3 === 1)
        socket.write('POST /not-me/api/view HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n');
      if (index % 3 === 2) socket.write('GET /push/enroll HTTP/1.1\r\nHo');
    }
    for (let round = 0; round < 20; round++) {
      const { session } = await client.unary(SessionService.method.createSession, { subject: `ada-${round}` });
      expect(session?.id).toMatch(/^ses_/);
    }
    await Promise.all(held.map(({ closed }) => closed));
    expect((await fetch(`${url}/.well-known/jwks.json`)).status).toBe(200);
    expect((await fetch(`${sidecar.adminUrl}/livez`)).status).toBe(200);
  });
});
