import { Agent, request } from 'node:https';
import { TLSSocket } from 'node:tls';
import { Fault } from '#src/domain/faults.ts';
import { type DurationMs, type EpochMs, HOUR, SECOND } from '#src/domain/time.ts';
import type { PushMessage, PushResult, PushSender } from '#src/ports/senders.ts';
import { guardedLookup, type Resolve, systemResolve } from './guarded-lookup.ts';
import { resultOf, resultOfError } from './push-answer.ts';
import { refusalOf } from './push-hosts.ts';
import type { VapidKey } from './vapid-key.ts';
import type { getVapidHeaders } from './web-push-library.ts';

export interface WebPushOptions {
  /** Asked with the first use, and again after it failed. */
  readonly key: () => Promise<VapidKey>;
  /** Contact for push services, mailto: or https:. */
  readonly subject: string;
  /** Names, or `*.` and a name. */
  readonly hosts: readonly string[];
  readonly allowPrivateHosts: boolean;
  /** Certificates to trust, PEM; those of the system if absent. */
  readonly ca?: string;
  /** Longest wait from the beginning of a send to the head of its answer. */
  readonly timeoutMs: DurationMs;
  /** The system's if absent. */
  readonly resolve?: Resolve;
}

/** Connections at once: to one push service, and to all. */
const MAX_SOCKETS = 32;
const MAX_TOTAL_SOCKETS = 64;
/** What is read of an answer's body, which nobody needs, so that the connection can be used again. */
const MAX_BODY = 16_384;
/** Longer ones are cut by some push services (RFC 8030 section 7.2), and ours is far shorter. */
const MAX_PAYLOAD = 1_024;
/** RFC 8292 section 2 allows a day. */
const VAPID_LIFE: DurationMs = HOUR;
/** Origins whose authorization is kept. */
const MAX_ORIGINS = 64;
const ENCODING = 'aes128gcm';
const TOO_LARGE: PushResult = { outcome: 'rejected', reason: 'TOO_LARGE', code: '', config: false };
const KEY_AWAY: PushResult = { outcome: 'retry', reason: 'KEY_AWAY', afterMs: undefined };
const KEY_DAMAGED: PushResult = { outcome: 'rejected', reason: 'KEY_DAMAGED', code: '', config: true };
const HOST_REFUSED: PushResult = { outcome: 'rejected', reason: 'HOST_REFUSED', code: '', config: true };

/**
 * Web Push. The library encrypts and signs; the request is made here, since the library's own follows no limit but a pause
 * of the socket, reads answers without end, speaks to any host, and puts the endpoint into its errors. Endpoints come
 * from people: hosts are looked at with every send, addresses with every connection; redirects are not followed.
 */
export class WebPushSender implements PushSender {
  readonly #options: WebPushOptions;
  readonly #agent: Agent;
  #key: Promise<VapidKey> | undefined;
  readonly #authorizations = new Map<string, { readonly header: string; readonly until: EpochMs }>();

  constructor(options: WebPushOptions) {
    this.#options = options;
    this.#agent = new Agent({
      keepAlive: true,
      maxSockets: MAX_SOCKETS,
      maxTotalSockets: MAX_TOTAL_SOCKETS,
      maxFreeSockets: 4,
      minVersion: 'TLSv1.2',
      rejectUnauthorized: true,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
      ...(options.allowPrivateHosts ? {} : { lookup: guardedLookup(options.resolve ?? systemResolve) }),
    });
  }

  async publicKey(): Promise<string> {
    return (await this.#vapid()).publicKey;
  }

  refusal(endpoint: string): string | undefined {
    const { hosts, allowPrivateHosts } = this.#options;
    return refusalOf(endpoint, { hosts, allowPrivate: allowPrivateHosts });
  }

  async send(message: PushMessage): Promise<PushResult> {
    const { endpoint } = message.subscription;
    if (this.refusal(endpoint) !== undefined) return HOST_REFUSED;
    if (message.payload.length > MAX_PAYLOAD) return TOO_LARGE;
    let key: VapidKey;
    try {
      key = await this.#vapid();
    } catch (error) {
      return error instanceof Fault && error.kind === 'data-loss' ? KEY_DAMAGED : KEY_AWAY;
    }
    let prepared: Prepared;
    try {
      prepared = await this.#prepare(message, key);
    } catch {
      return { outcome: 'rejected', reason: 'UNSENDABLE', code: '', config: false };
    }
    return this.#post(new URL(endpoint), prepared);
  }

  /** Closes all connections; what is on its way ends as unknown. */
  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  #vapid(): Promise<VapidKey> {
    this.#key ??= this.#options.key().catch((error: unknown) => {
      this.#key = undefined;
      throw error;
    });
    return this.#key;
  }

  async #prepare({ subscription, payload, ttlMs, topic }: PushMessage, key: VapidKey): Promise<Prepared> {
    const { generateRequestDetails, getVapidHeaders } = await import('./web-push-library.ts');
    const { endpoint, p256dh, auth } = subscription;
    const { headers, body } = generateRequestDetails({ endpoint, keys: { p256dh, auth } }, Buffer.from(payload), {
      // Whole seconds that are not more than what is left.
      TTL: Math.max(0, Math.floor(ttlMs / SECOND)),
      urgency: 'high',
      topic,
      contentEncoding: ENCODING,
    });
    // Not by the library's option: it would take the audience from another parser of URLs.
    const authorization = this.#authorization(new URL(endpoint).origin, key, getVapidHeaders);
    return { headers: { ...(headers as Prepared['headers']), Authorization: authorization }, body };
  }

  /** Signed once for each push service and half its life. */
  #authorization(origin: string, key: VapidKey, vapidHeaders: typeof getVapidHeaders): string {
    const now = Date.now();
    const kept = this.#authorizations.get(origin);
    if (kept && now < kept.until && now >= kept.until - VAPID_LIFE) return kept.header;
    const { subject } = this.#options;
    const expires = Math.floor((now + VAPID_LIFE) / SECOND);
    const made = vapidHeaders(origin, subject, key.publicKey, key.privateKey, ENCODING, expires);
    if (this.#authorizations.size >= MAX_ORIGINS) this.#authorizations.clear();
    this.#authorizations.set(origin, { header: made.Authorization, until: now + VAPID_LIFE / 2 });
    return made.Authorization;
  }

  #post(url: URL, { headers, body }: Prepared): Promise<PushResult> {
    return new Promise((resolve) => {
      let connected = false;
      const sending = request(url, { method: 'POST', headers, agent: this.#agent });
      const deadline = setTimeout(() => sending.destroy(new Error('no answer in time')), this.#options.timeoutMs);
      const end = (result: PushResult) => {
        clearTimeout(deadline);
        resolve(result);
      };
      sending.on('socket', (socket) => {
        // A connection that was used before is past its handshake.
        if (socket instanceof TLSSocket && socket.authorized) connected = true;
        else socket.once('secureConnect', () => (connected = true));
      });
      sending.on('error', (error) => end(resultOfError(error, connected)));
      sending.on('response', (response) => {
        end(resultOf(response.statusCode ?? 0, response.headers['retry-after'] ?? '', Date.now()));
        let read = 0;
        const giveUp = setTimeout(() => response.destroy(), this.#options.timeoutMs).unref();
        response.on('error', () => {});
        response.on('close', () => clearTimeout(giveUp));
        response.on('data', (chunk: Buffer) => {
          read += chunk.length;
          if (read > MAX_BODY) response.destroy();
        });
      });
      sending.end(body);
    });
  }
}

interface Prepared {
  readonly headers: Record<string, string | number>;
  readonly body: Buffer | null;
}
