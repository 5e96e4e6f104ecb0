import { createECDH, createPublicKey, type ECDH, randomBytes, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import * as ece from 'http_ece';
import type { Certificate } from '../../scripts/servers/certificates.ts';

/** What the service answers instead of 201. */
export type PushReply =
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string }
  /** Takes the request and never answers. */
  | 'hang'
  /** Takes the request and cuts the connection. */
  | 'reset'
  /** Answers 201 with a body that does not end: as fast as it can, or a byte at a time. */
  | 'endless'
  | 'drip'
  /** Sends the head of an answer byte by byte, so that the connection is never idle and the answer never there. */
  | 'trickle';

/** A subscription as a browser holds it, its private parts in `decrypt`. */
export interface StandInSubscription {
  readonly endpoint: string;
  readonly p256dh: string;
  readonly auth: string;
  /** As `JSON.stringify(PushSubscription)` has it. */
  readonly json: string;
}

/** A message that was taken, decrypted by an implementation that is not the sender's (RFC 8188, 8291). */
export interface PushDelivery {
  readonly endpoint: string;
  readonly text: string;
  readonly bodyBytes: number;
  readonly ttlSeconds: number;
  readonly topic: string;
  readonly urgency: string;
  readonly vapid: { readonly aud: string; readonly exp: number; readonly sub: string; readonly key: string };
}

interface Held {
  readonly curve: ECDH;
  readonly auth: string;
  /** base64url; '' takes any. */
  readonly serverKey: string;
  gone: boolean;
}

/**
 * A push service on loopback with a certificate of the test's own authority: a real HTTPS server that takes what RFC 8030
 * (TTL, Topic, Urgency), RFC 8291 (encryption) and RFC 8292 (VAPID) say, refuses the rest with the codes that services
 * use, and answers on command what goes wrong.
 */
export class PushServiceStandIn implements AsyncDisposable {
  readonly origin: string;
  /** Every request that arrived, whatever became of it. */
  requests = 0;
  /** What was taken with 201. */
  readonly deliveries: PushDelivery[] = [];
  /** Why requests were refused by the rules, not on command. */
  readonly refusals: string[] = [];
  /** Asked for each request that nothing else is said about: what it is answered with, or nothing. */
  chance: (() => PushReply | undefined) | undefined;
  readonly #server: Server;
  readonly #held = new Map<string, Held>();
  /** By the port of the client: what is under TLS. */
  readonly #sockets = new Map<number, Socket>();
  #script: PushReply[] = [];
  #always: PushReply | undefined;
  readonly #waiting: { readonly count: number; readonly resolve: () => void }[] = [];

  private constructor(server: Server) {
    this.#server = server;
    this.origin = `https://localhost:${(server.address() as AddressInfo).port}`;
    server.on('request', (request, response) => void this.#serve(request, response));
    server.on('connection', (socket: Socket) => {
      const port = socket.remotePort ?? 0;
      this.#sockets.set(port, socket);
      socket.on('error', () => {});
      socket.on('close', () => this.#sockets.delete(port));
    });
  }

  static async start({ certFile, keyFile }: Certificate): Promise<PushServiceStandIn> {
    const server = createServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) });
    server.on('tlsClientError', () => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new PushServiceStandIn(server);
  }

  get openConnections(): number {
    return this.#sockets.size;
  }

  /** What a browser gets from `pushManager.subscribe`; a `serverKey` binds it to that VAPID key. */
  subscribe(serverKey = ''): StandInSubscription {
    const curve = createECDH('prime256v1');
    const p256dh = curve.generateKeys().toString('base64url');
    const auth = randomBytes(16).toString('base64url');
    const path = `/push/v1/${randomBytes(24).toString('base64url')}`;
    this.#held.set(path, { curve, auth, serverKey, gone: false });
    const endpoint = `${this.origin}${path}`;
    return {
      endpoint,
      p256dh,
      auth,
      json: JSON.stringify({ endpoint, expirationTime: null, keys: { p256dh, auth } }),
    };
  }

  /** From now on the subscription answers 410. */
  unsubscribe(endpoint: string): void {
    const held = this.#held.get(new URL(endpoint).pathname);
    if (held) held.gone = true;
  }

  /** Answers for the next requests, in order; after them it is well again. */
  next(...replies: readonly PushReply[]): void {
    this.#script = [...replies];
  }

  /** The answer to every request that `next` has none for; `undefined` makes it well again. */
  always(reply: PushReply | undefined): void {
    this.#always = reply;
  }

  /** Resolves once so many messages were taken in all. */
  delivered(count: number): Promise<void> {
    if (this.deliveries.length >= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ count, resolve }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets.values()) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests += 1;
    const body = await bodyOf(request);
    const reply = this.#script.shift() ?? this.#always ?? this.chance?.();
    if (reply === 'hang') return;
    if (reply === 'reset') return void this.#sockets.get(request.socket.remotePort ?? 0)?.resetAndDestroy();
    if (reply === 'endless') return endless(response, 8_192);
    if (reply === 'drip') return endless(response, 1);
    if (reply === 'trickle') return trickle(request.socket);
    if (reply) return void response.writeHead(reply.status, reply.headers).end(reply.body ?? '');
    const taken = this.#take(request, body);
    if ('status' in taken) {
      this.refusals.push(taken.why);
      return void response.writeHead(taken.status).end(taken.why);
    }
    this.deliveries.push(taken);
    response.writeHead(201, { location: `${this.origin}/message/${randomBytes(16).toString('base64url')}` }).end();
    for (const { count, resolve } of this.#waiting) if (this.deliveries.length >= count) resolve();
  }

  #take(request: IncomingMessage, body: Buffer): PushDelivery | { readonly status: number; readonly why: string } {
    const no = (status: number, why: string) => ({ status, why });
    const header = (name: string) => String(request.headers[name] ?? '');
    if (request.method !== 'POST') return no(405, 'not a POST');
    const held = this.#held.get(request.url ?? '');
    if (!held) return no(404, 'no such subscription');
    if (held.gone) return no(410, 'unsubscribed');
    const vapid = readVapid(header('authorization'));
    if (typeof vapid === 'string') return no(401, vapid);
    const now = Date.now() / 1000;
    if (vapid.aud !== this.origin) return no(403, `aud is ${vapid.aud}`);
    if (vapid.exp <= now || vapid.exp > now + 86_400) return no(403, 'exp is over or beyond a day');
    if (!/^(?:mailto:|https:\/\/)/.test(vapid.sub)) return no(403, 'sub is no contact');
    if (held.serverKey !== '' && held.serverKey !== vapid.key) return no(403, 'another key than subscribed with');
    if (!/^[0-9]+$/.test(header('ttl'))) return no(400, 'no TTL');
    if (!/^[A-Za-z0-9_-]{0,32}$/.test(header('topic'))) return no(400, 'topic');
    if (!/^(?:|very-low|low|normal|high)$/.test(header('urgency'))) return no(400, 'urgency');
    if (header('content-encoding') !== 'aes128gcm') return no(415, 'content-encoding');
    if (body.length > 4_096) return no(413, 'longer than 4096 bytes');
    const text = decrypt(body, held);
    if (text === undefined) return no(400, 'does not decrypt');
    const [ttlSeconds, topic, urgency] = [Number(header('ttl')), header('topic'), header('urgency')];
    return {
      endpoint: `${this.origin}${request.url}`,
      text,
      bodyBytes: body.length,
      ttlSeconds,
      topic,
      urgency,
      vapid,
    };
  }
}

/** The claims of an Authorization header (RFC 8292 section 3), its signature checked; or what is wrong with it. */
function readVapid(header: string): PushDelivery['vapid'] | string {
  const match = /^vapid t=([\w-]+)\.([\w-]+)\.([\w-]+), ?k=([\w-]+)$/.exec(header);
  if (!match) return 'no VAPID authorization';
  const [, head = '', claims = '', signature = '', key = ''] = match;
  const point = Buffer.from(key, 'base64url');
  if (point.length !== 65 || point[0] !== 4) return 'k is no uncompressed point';
  const { alg, typ } = jsonOf(head);
  if (alg !== 'ES256' || typ !== 'JWT') return 'not an ES256 JWT';
  const jwk = {
    kty: 'EC',
    crv: 'P-256',
    x: point.subarray(1, 33).toString('base64url'),
    y: point.subarray(33).toString('base64url'),
  };
  const good = verify(
    'sha256',
    Buffer.from(`${head}.${claims}`),
    { key: createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' },
    Buffer.from(signature, 'base64url'),
  );
  if (!good) return 'signature of the JWT';
  const { aud, exp, sub } = jsonOf(claims);
  return { aud: String(aud), exp: Number(exp), sub: String(sub), key };
}

function jsonOf(part: string): Readonly<Record<string, unknown>> {
  return JSON.parse(Buffer.from(part, 'base64url').toString('utf8')) as Record<string, unknown>;
}

function decrypt(body: Buffer, { curve, auth }: Held): string | undefined {
  try {
    return ece.decrypt(body, { version: 'aes128gcm', privateKey: curve, authSecret: auth }).toString('utf8');
  } catch {
    return undefined;
  }
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of request) chunks.push(chunk as Buffer);
  } catch {
    // The client went away; whatever came of it is looked at as it is.
  }
  return Buffer.concat(chunks);
}

function endless(response: ServerResponse, bytes: number): void {
  response.writeHead(201);
  const more = setInterval(() => response.write(Buffer.alloc(bytes)), 5);
  response.on('close', () => clearInterval(more));
  response.on('error', () => clearInterval(more));
}

function trickle(socket: Socket): void {
  const text = `HTTP/1.1 201 Created\r\nx-filler: ${'a'.repeat(8_000)}`;
  let sent = 0;
  const more = setInterval(() => socket.write(text.charAt(sent++ % text.length)), 20);
  socket.on('close', () => clearInterval(more));
}
