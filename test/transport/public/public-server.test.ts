import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { API_SERVICES } from '#src/transport/methods.ts';
import { PUBLIC_LIMITS } from '#src/transport/public/public-server.ts';
import { json, type PublicRequest, type Route } from '#src/transport/public/router.ts';
import { servePublic } from '../../support/public-listener.ts';
import { timed, until } from '../../support/until.ts';

const got: PublicRequest[] = [];
const page: Route = {
  path: '/page',
  method: 'GET',
  kind: 'page',
  handle: (request) => {
    got.push(request);
    return { status: 200, contentType: 'text/html; charset=utf-8', body: '<!doctype html>', page: true };
  },
};
const form: Route = {
  path: '/form',
  method: 'POST',
  kind: 'callback',
  bodyType: 'application/x-www-form-urlencoded',
  handle: (request) => {
    got.push(request);
    return json(200, { bytes: request.body.length });
  },
};
const routes = [page, form];
const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const REQUIRED = [
  'content-security-policy',
  'cross-origin-opener-policy',
  'cross-origin-embedder-policy',
  'cross-origin-resource-policy',
  'permissions-policy',
  'referrer-policy',
  'x-content-type-options',
  'x-frame-options',
  'cache-control',
];

/** A route that says when it was asked, and answers when it is told to. */
function held(path: string) {
  const begun = Promise.withResolvers<void>();
  const waiting = Promise.withResolvers<void>();
  const handle = async () => {
    begun.resolve();
    await waiting.promise;
    return { status: 200, body: 'done' };
  };
  const route: Route = { ...page, path, handle };
  return { route, begun: begun.promise, finish: waiting.resolve };
}

/** Status and headers of the first answer in raw bytes. */
function head(answer: string): { readonly status: number; readonly headers: Readonly<Record<string, string>> } {
  const [first = '', ...lines] = (answer.split('\r\n\r\n')[0] ?? '').split('\r\n');
  const headers = lines.map((line) => {
    const at = line.indexOf(':');
    return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()] as const;
  });
  return { status: Number(first.split(' ')[1] ?? 0), headers: Object.fromEntries(headers) };
}

const bytesOf = (...lines: readonly string[]) => `${lines.join('\r\n')}\r\n\r\n`;
const asked = (line: string, ...more: readonly string[]) =>
  bytesOf(line, 'Host: auth.example', 'Connection: close', ...more);

describe('every answer of the public listener', () => {
  it('carries the security headers, whatever was asked and however', async () => {
    await using listener = await servePublic(routes, { https: true });
    const answers: Readonly<Record<string, readonly [string, number]>> = {
      page: [asked('GET /page HTTP/1.1'), 200],
      head: [asked('HEAD /page HTTP/1.1'), 200],
      'another method': [asked('DELETE /page HTTP/1.1'), 405],
      'OPTIONS, as a preflight': [asked('OPTIONS /form HTTP/1.1', 'Origin: https://evil.example'), 405],
      TRACE: [asked('TRACE /page HTTP/1.1'), 405],
      'nothing there': [asked('GET /nothing HTTP/1.1'), 404],
      'a body with GET': [asked('GET /page HTTP/1.1', 'Content-Length: 1'), 400],
      'a repeated Host': [asked('GET /page HTTP/1.1', 'Host: evil.example'), 400],
      'no Host': [bytesOf('GET /page HTTP/1.1', 'Connection: close'), 400],
      'another type': [asked('POST /form HTTP/1.1', 'Content-Type: text/plain', 'Content-Length: 0'), 415],
      'a big body': [
        asked('POST /form HTTP/1.1', `Content-Type: ${FORM['content-type']}`, 'Content-Length: 16385'),
        413,
      ],
      'headers that flood': [asked('GET /page HTTP/1.1', `X: ${'x'.repeat(17_000)}`), 431],
      'many headers that flood': [asked('GET /page HTTP/1.1', ...Array<string>(3_000).fill('a: b')), 431],
      'a long address': [asked(`GET /${'x'.repeat(3_000)} HTTP/1.1`), 414],
      'what is no HTTP': ['\x16\x03\x01\x02\x00\r\n\r\n', 400],
      'two lengths': [asked('POST /form HTTP/1.1', 'Content-Length: 1', 'Content-Length: 2'), 400],
      'length and chunks': [asked('POST /form HTTP/1.1', 'Content-Length: 1', 'Transfer-Encoding: chunked'), 400],
      'an unknown expectation': [asked('GET /page HTTP/1.1', 'Expect: miracles'), 417],
    };
    for (const [what, [bytes, status]] of Object.entries(answers)) {
      const answer = head(await listener.raw(bytes));
      expect({ what, status: answer.status }).toEqual({ what, status });
      const missing = [...REQUIRED, 'strict-transport-security'].filter((name) => !answer.headers[name]);
      expect({ what, missing }).toEqual({ what, missing: [] });
      const opened = Object.keys(answer.headers).filter((name) => /^access-control|^set-cookie|^server$/.test(name));
      expect({ what, opened }).toEqual({ what, opened: [] });
    }
  });

  it('lets a page load what this origin serves, and anything else nothing at all', async () => {
    await using listener = await servePublic(routes);
    const policy = async (path: string) =>
      (await fetch(`${listener.url}${path}`)).headers.get('content-security-policy') ?? '';
    const ofPage = await policy('/page');
    for (const part of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"])
      expect(ofPage).toContain(part);
    expect(ofPage).toContain("require-trusted-types-for 'script'");
    expect(ofPage).not.toMatch(/unsafe|\*|data:|https?:/);
    expect(await policy('/nothing')).toBe(
      "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
  });

  it('asks for https ever after only where browsers have it', async () => {
    await using plain = await servePublic(routes);
    expect((await fetch(`${plain.url}/page`)).headers.get('strict-transport-security')).toBeNull();
    await using secure = await servePublic(routes, { https: true });
    expect((await fetch(`${secure.url}/page`)).headers.get('strict-transport-security')).toMatch(/^max-age=63072000/);
  });

  it('has an id of its own, and takes that of a proxy only where there is one', async () => {
    const headers = { 'x-request-id': 'chosen-by-somebody' };
    await using alone = await servePublic(routes);
    expect((await fetch(`${alone.url}/page`, { headers })).headers.get('x-request-id')).toMatch(/^test-p/);
    await using behind = await servePublic(routes, { trustProxy: 1 });
    expect((await fetch(`${behind.url}/page`, { headers })).headers.get('x-request-id')).toBe('chosen-by-somebody');
  });
});

describe('paths of the public listener', () => {
  it('have one spelling: no other leads anywhere', async () => {
    await using listener = await servePublic(routes);
    const tricks = [
      '//page',
      '/page/',
      '/./page',
      '/x/../page',
      '/%70age',
      '/page%2f',
      '/page%00',
      '/page;a=b',
      '/PAGE',
      '/page%3fa',
      '/page\\',
    ];
    for (const trick of tricks) {
      expect({ trick, status: head(await listener.raw(asked(`GET ${trick} HTTP/1.1`))).status }).toEqual({
        trick,
        status: 404,
      });
    }
    for (const form of ['http://auth.example/page', '*', 'page']) {
      expect({ form, status: head(await listener.raw(asked(`GET ${form} HTTP/1.1`))).status }).toEqual({
        form,
        status: 400,
      });
    }
    expect(head(await listener.raw(asked('CONNECT auth.example:443 HTTP/1.1'))).status).not.toBe(200);
    expect((await fetch(`${listener.url}/page?a=b`)).status).toBe(200);
    expect(got.at(-1)?.target).toBe('/page?a=b');
  });

  it('are none of the application: every call of the API is unknown here', async () => {
    await using listener = await servePublic(routes);
    for (const service of API_SERVICES) {
      for (const method of service.methods) {
        const answer = await fetch(`${listener.url}/${service.typeName}/${method.name}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'x-sallyport-client': 'browser' },
          body: '{}',
        });
        expect({ method: method.name, status: answer.status }).toEqual({ method: method.name, status: 404 });
        await answer.text();
      }
    }
  });

  it('cannot smuggle a header line into an answer', async () => {
    await using listener = await servePublic(routes);
    const answer = await listener.raw(asked('GET /page%0d%0aSet-Cookie:%20a=b HTTP/1.1'));
    expect(head(answer).status).toBe(404);
    expect(answer).not.toMatch(/set-cookie/i);
    const split = await listener.raw(asked('GET /page HTTP/1.1', 'X-Request-Id: a\rSet-Cookie: a=b'));
    expect(split).not.toMatch(/set-cookie/i);
  });
});

describe('the limits of the public listener', () => {
  it('take a body up to 16 KiB and not a byte more, by length or in chunks', async () => {
    await using listener = await servePublic(routes);
    const send = async (body: string) => await fetch(`${listener.url}/form`, { method: 'POST', headers: FORM, body });
    const most = await send('x'.repeat(16_384));
    expect([most.status, await most.json()]).toEqual([200, { bytes: 16_384 }]);
    expect((await send('x'.repeat(16_385))).status).toBe(413);
    const chunked = `${bytesOf('POST /form HTTP/1.1', 'Host: a', `Content-Type: ${FORM['content-type']}`, 'Transfer-Encoding: chunked')}4001\r\n${'x'.repeat(0x4001)}\r\n`;
    const answer = head(await listener.raw(chunked));
    expect([answer.status, answer.headers['connection']]).toEqual([413, 'close']);
    const zipped = await fetch(`${listener.url}/form`, {
      method: 'POST',
      headers: { ...FORM, 'content-encoding': 'gzip' },
      body: 'x',
    });
    expect(zipped.status).toBe(415);
  });

  it('cut who sends headers or a body too slowly, and serve others meanwhile', async () => {
    const limits = { headersMs: 300, requestMs: 600 };
    await using listener = await servePublic(routes, { limits });
    const slow = Array.from({ length: 20 }, () =>
      timed(() => listener.raw('GET /page HTTP/1.1\r\nHost: a\r\nX-Slow: ')),
    );
    const body = timed(() =>
      listener.raw(
        bytesOf('POST /form HTTP/1.1', 'Host: a', `Content-Type: ${FORM['content-type']}`, 'Content-Length: 9'),
      ),
    );
    expect((await fetch(`${listener.url}/page`)).status).toBe(200);
    for (const { ms } of await Promise.all([...slow, body])) expect(ms).toBeLessThan(PUBLIC_LIMITS.headersMs);
    expect(await listener.raw('GET /page HTTP/1.1\r\nHost: a\r\nX-Slow: ')).toMatch(/^HTTP\/1\.1 408 /);
  });

  it('cut who drips bytes for ever', async () => {
    await using listener = await servePublic(routes, { limits: { headersMs: 300, requestMs: 600 } });
    const socket = connect(listener.port, '127.0.0.1');
    socket.on('error', () => {});
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.write('GET /page HTTP/1.1\r\nHost: a\r\nX-Drip: ');
    const drip = setInterval(() => socket.write('x'), 20);
    const { ms } = await timed(() => closed);
    clearInterval(drip);
    expect(ms).toBeLessThan(PUBLIC_LIMITS.headersMs);
  });

  it('cut who does not read', async () => {
    const bytes = 64 * 1024 * 1024;
    const asks = Promise.withResolvers<void>();
    const big: Route = {
      ...page,
      path: '/big',
      handle: () => {
        asks.resolve();
        return { status: 200, body: Buffer.alloc(bytes) };
      },
    };
    await using listener = await servePublic([big], { limits: { silenceMs: 300 } });
    const socket = connect(listener.port, '127.0.0.1');
    let read = 0;
    socket.on('error', () => {});
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.write(bytesOf('GET /big HTTP/1.1', 'Host: a'));
    await asks.promise;
    await sleep(1_500);
    socket.on('data', (chunk) => {
      read += chunk.length;
    });
    await closed;
    expect(read).toBeLessThan(bytes);
  });

  it('hold one address to its share of connections, and give it back', async () => {
    await using listener = await servePublic(routes, { limits: { connectionsPerAddress: 3 } });
    const open = () => {
      const socket = connect(listener.port, '127.0.0.1');
      socket.on('error', () => {});
      const connected = new Promise((resolve) => socket.once('connect', resolve));
      const closed = new Promise((resolve) => socket.once('close', resolve));
      return { socket, connected, closed };
    };
    const held = [open(), open(), open()];
    await Promise.all(held.map(({ connected }) => connected));
    await open().closed;
    expect(held.map(({ socket }) => socket.closed)).toEqual([false, false, false]);
    for (const { socket } of held) socket.destroy();
    // The other end of the connections hears of it a moment later.
    const again = () => fetch(`${listener.url}/page`).catch(() => undefined);
    await until(async () => (await again())?.status === 200);
  });

  it('hold one address to its rate, by kind, and say when to come back', async () => {
    const once = { burst: 2, perSecond: 0.01 };
    const rate = { page: once, api: once, callback: once };
    await using listener = await servePublic(routes, { limits: { rate } });
    const statuses: number[] = [];
    for (const path of ['/page', '/nothing', '/page']) statuses.push((await fetch(`${listener.url}${path}`)).status);
    expect(statuses).toEqual([200, 404, 429]);
    const refused = await fetch(`${listener.url}/page`);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect((await fetch(`${listener.url}/form`, { method: 'POST', headers: FORM, body: '' })).status).toBe(200);
  });

  it('count by the address that the proxy saw, not by what a client adds in front of it', async () => {
    const rate = {
      page: { burst: 1, perSecond: 0.01 },
      api: { burst: 1, perSecond: 1 },
      callback: { burst: 1, perSecond: 1 },
    };
    await using listener = await servePublic(routes, { trustProxy: 1, limits: { rate } });
    const from = async (forwarded: string) =>
      (await fetch(`${listener.url}/page`, { headers: { 'x-forwarded-for': forwarded } })).status;
    expect(await from('203.0.113.1')).toBe(200);
    expect(await from('198.51.100.9, 203.0.113.1')).toBe(429);
    expect(await from('203.0.113.1, 203.0.113.2')).toBe(200);
    expect(got.at(-1)?.visit.client.ipAddress).toBe('203.0.113.2');
  });

  it('end what a route does not finish, and what it throws, without telling why', async () => {
    const stuck: Route = { ...page, path: '/stuck', handle: () => new Promise(() => {}) };
    const broken: Route = {
      ...page,
      path: '/broken',
      handle: () => {
        throw new Error('secret-0815');
      },
    };
    await using listener = await servePublic([stuck, broken], { limits: { handlerMs: 200 } });
    expect((await fetch(`${listener.url}/stuck`)).status).toBe(503);
    const failed = await fetch(`${listener.url}/broken`);
    expect([failed.status, (await failed.text()).includes('secret-0815')]).toEqual([500, false]);
    expect(listener.log.lines.join('\n')).not.toContain('secret-0815');
  });
});

describe('routes that are slow', () => {
  it('are worked at so many at once, pipelined ones too, and the next are told to come back', async () => {
    let finish = () => {};
    const waiting = new Promise<void>((resolve) => {
      finish = resolve;
    });
    let working = 0;
    let most = 0;
    const slow: Route = {
      ...page,
      path: '/slow',
      handle: async () => {
        working += 1;
        most = Math.max(most, working);
        await waiting;
        working -= 1;
        return { status: 200, body: 'done' };
      },
    };
    await using listener = await servePublic([slow], { limits: { concurrent: 4 } });
    const one = bytesOf('GET /slow HTTP/1.1', 'Host: a');
    const last = asked('GET /slow HTTP/1.1');
    const answers = [listener.raw(`${one.repeat(7)}${last}`), listener.raw(`${one.repeat(7)}${last}`)];
    await until(() => listener.metrics.seen.length === 12);
    finish();
    const all = (await Promise.all(answers)).join('');
    expect(most).toBe(4);
    expect([all.match(/HTTP\/1\.1 200 /g)?.length, all.match(/HTTP\/1\.1 503 /g)?.length]).toEqual([4, 12]);
    expect((await fetch(`${listener.url}/slow`)).status).toBe(200);
  });
});

describe('what the public listener leaves behind', () => {
  it('is no path, query, address, agent or header of a request', async () => {
    await using listener = await servePublic(routes);
    await fetch(`${listener.url}/page?token=planted-query`, { headers: { 'user-agent': 'planted-agent' } });
    await fetch(`${listener.url}/planted-path`, { headers: { 'x-planted': 'planted-header' } });
    await listener.raw(asked('PLANTED /page HTTP/1.1'));
    expect(listener.metrics.seen).toEqual([
      { route: '/page', method: 'GET', status: '200' },
      { route: '_OTHER', method: '_OTHER', status: '404' },
    ]);
    const left = `${listener.log.lines.join('\n')}${JSON.stringify(listener.metrics.seen)}`;
    expect(left).toContain('/page');
    expect(left).not.toMatch(/planted|127\.0\.0\.1/i);
  });
});

describe('the end of the public listener', () => {
  it('lets requests finish that are under way, and takes no more', async () => {
    const slow = held('/slow');
    const listener = await servePublic([slow.route]);
    const answer = fetch(`${listener.url}/slow`);
    await slow.begun;
    const drained = listener.server.drain(15_000);
    await sleep(20);
    await expect(fetch(`${listener.url}/slow`)).rejects.toThrow();
    slow.finish();
    expect([(await answer).status, await (await answer).text(), await drained]).toEqual([200, 'done', true]);
  });

  it('cuts what does not finish in time', async () => {
    const stuck = held('/stuck');
    const listener = await servePublic([stuck.route]);
    const answer = fetch(`${listener.url}/stuck`).catch(() => 'cut');
    await stuck.begun;
    expect(await listener.server.drain(100)).toBe(false);
    expect(await answer).toBe('cut');
  });
});
