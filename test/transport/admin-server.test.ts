import { afterEach, describe, expect, it } from 'vitest';
import { AdminServer, type AdminServerOptions, type Verdict } from '#src/transport/admin/admin-server.ts';
import { RecordingLog } from '../support/recording-telemetry.ts';

let server: AdminServer | undefined;
afterEach(async () => {
  await server?.[Symbol.asyncDispose]();
});

const good: Verdict = { ok: true, lines: [] };

async function serve(options: Partial<AdminServerOptions> = {}) {
  const log = new RecordingLog();
  server = new AdminServer({
    addresses: [{ kind: 'tcp', host: '127.0.0.1', port: 0 }],
    log,
    live: () => good,
    ready: () => good,
    started: () => good,
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4; charset=utf-8', body: 'x 1\n' }),
    ...options,
  });
  await server.listen();
  const [bound] = server.addresses;
  const url = `http://127.0.0.1:${bound?.kind === 'tcp' ? bound.port : 0}`;
  const get = async (path: string, init: RequestInit = {}) => {
    const answer = await fetch(url + path, init);
    return { status: answer.status, text: await answer.text(), headers: answer.headers };
  };
  return { get, log };
}

describe('the admin listener', () => {
  it.each(['/livez', '/readyz', '/startupz'])('answers ok on %s', async (path) => {
    const { get } = await serve();
    expect(await get(path)).toMatchObject({ status: 200, text: 'ok\n' });
    expect(await get(`${path}?verbose`)).toMatchObject({ status: 200 });
    expect(await get(path, { method: 'HEAD' })).toMatchObject({ status: 200, text: '' });
  });

  it('answers 503 and says why', async () => {
    const { get } = await serve({
      live: () => ({ ok: false, lines: ['the event loop is 12 s late'] }),
      ready: async () => ({ ok: false, lines: ['the audit buffer is full', 'stopping'] }),
    });
    expect(await get('/livez')).toMatchObject({ status: 503, text: 'not ok\nthe event loop is 12 s late\n' });
    expect(await get('/readyz')).toMatchObject({ status: 503, text: 'not ok\nthe audit buffer is full\nstopping\n' });
    expect(await get('/startupz')).toMatchObject({ status: 200 });
  });

  it('gives out the metrics', async () => {
    const { get } = await serve();
    const answer = await get('/metrics');
    expect(answer).toMatchObject({ status: 200, text: 'x 1\n' });
    expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  });

  it('changes nothing and shows nothing else', async () => {
    const { get } = await serve();
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const answer = await get('/livez', { method });
      expect(answer.status).toBe(405);
      expect(answer.headers.get('allow')).toBe('GET, HEAD');
    }
    for (const path of ['/', '/debug', '/livez/', '//livez', '/.well-known/jwks.json']) {
      expect((await get(path)).status).toBe(404);
    }
  });

  it('answers 500 without the cause when a page fails', async () => {
    const { get, log } = await serve({ metrics: () => Promise.reject(new Error('secret path')) });
    const answer = await get('/metrics');
    expect(answer.status).toBe(500);
    expect(answer.text).not.toContain('secret path');
    expect(log.lines.join()).toContain('secret path');
  });
});
