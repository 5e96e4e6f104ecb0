import { createHmac, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { eventually } from './eventually.ts';
import { complaintsAboutForm } from './twilio-contract.ts';

/** What a request meets in place of an answer as usual. With `taken` the message was sent all the same. */
export type TwilioTrouble =
  | {
      readonly kind: 'error';
      readonly status: number;
      readonly code?: number;
      readonly retryAfter?: string;
      readonly sid?: string;
    }
  | { readonly kind: 'html'; readonly status: number }
  | { readonly kind: 'hang'; readonly taken?: boolean }
  | { readonly kind: 'reset'; readonly taken?: boolean }
  /** Headers, and then a byte from time to time. */
  | { readonly kind: 'drip'; readonly taken?: boolean }
  /** More than any message resource has. */
  | { readonly kind: 'flood' };

export interface TakenMessage {
  readonly sid: string;
  readonly to: string;
  readonly body: string;
  readonly form: Readonly<Record<string, string>>;
}

export const ACCOUNT_SID = `AC${'0123456789abcdef'.repeat(2)}`;
export const AUTH_TOKEN = 'feedfacecafebeef0123456789abcdef';
/** The sender of Twilio's test credentials that works. */
export const FROM_NUMBER = '+15005550006';

const FROM_ERRORS: Readonly<Record<string, number>> = {
  '+15005550001': 21212,
  '+15005550007': 21606,
  '+15005550008': 21611,
};
const TO_ERRORS: Readonly<Record<string, number>> = {
  '+15005550001': 21211,
  '+15005550002': 21612,
  '+15005550003': 21408,
  '+15005550004': 21610,
  '+15005550009': 21614,
};

/**
 * A server on loopback that speaks the published contract of Twilio's Messages resource, with the magic numbers of its
 * test credentials, and gets into every trouble that it is told to.
 */
export class TwilioStandIn implements AsyncDisposable {
  /** Messages that would have gone out. */
  readonly messages: TakenMessage[] = [];
  /** What the sidecar did against the contract. */
  readonly complaints: string[] = [];
  /** Of every request, whatever came of it. */
  readonly paths: string[] = [];
  /** Met by every request, after what `next` says. */
  always: TwilioTrouble | undefined;
  /** Asked for each request that nothing else is said about: what it meets, or nothing. */
  chance: (() => TwilioTrouble | undefined) | undefined;
  readonly #next: TwilioTrouble[] = [];
  readonly #byNumber = new Map<string, TwilioTrouble>();
  readonly #server: Server;
  readonly #scheme: string;

  private constructor(server: Server, scheme: string) {
    this.#server = server;
    this.#scheme = scheme;
  }

  static async start(tls?: { readonly key: string; readonly cert: string }): Promise<TwilioStandIn> {
    const answer = (request: IncomingMessage, response: ServerResponse) => {
      void standIn.#answer(request, response).catch((error: unknown) => {
        standIn.complaints.push(String(error));
        response.destroy();
      });
    };
    const server: Server = tls ? createTlsServer(tls, answer) : createServer(answer);
    const standIn = new TwilioStandIn(server, tls ? 'https' : 'http');
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return standIn;
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `${this.#scheme}://127.0.0.1:${port}`;
  }

  /** What the next requests meet, one each. */
  next(...troubles: readonly TwilioTrouble[]): void {
    this.#next.push(...troubles);
  }

  /** What every request to send to the number meets. */
  to(number: string, trouble: TwilioTrouble): void {
    this.#byNumber.set(number, trouble);
  }

  /** The code in the newest message to a number. */
  codeTo(number: string): string {
    const newest = this.messages.findLast((message) => message.to === number);
    const [code] = /(?<![0-9])[0-9]{6}(?![0-9])/.exec(newest?.body ?? '') ?? [];
    if (code === undefined) throw new Error('no code was sent to the number');
    return code;
  }

  /** As `codeTo`, once there is one: who asked for it may be answered before the provider was. */
  async codeSentTo(number: string): Promise<string> {
    await eventually('a message', () => this.messages.some((message) => message.to === number), 15_000);
    return this.codeTo(number);
  }

  /**
   * Calls the URL that was given with the message, as Twilio does; answers the HTTP status. `reach` says where the public
   * origin is in the test; `tamper` changes what is posted after it was signed.
   */
  async report(
    sid: string,
    status: string,
    options: {
      readonly errorCode?: number;
      readonly reach?: (url: string) => string;
      readonly authToken?: string;
      readonly tamper?: (form: URLSearchParams) => void;
    } = {},
  ): Promise<number> {
    const message = this.messages.find((one) => one.sid === sid);
    const url = message?.form['StatusCallback'];
    if (!message || url === undefined) throw new Error('there is nobody to report this message to');
    const { form, signature } = signedReport(message, status, options);
    options.tamper?.(form);
    const response = await fetch(options.reach?.(url) ?? url, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', 'x-twilio-signature': signature },
      body: form,
    });
    await response.arrayBuffer();
    return response.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.paths.push(request.url ?? '');
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const form = Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString('utf8')));
    const trouble = this.#next.shift() ?? this.#byNumber.get(form['To'] ?? '') ?? this.always ?? this.chance?.();
    if (trouble) return this.#trouble(trouble, form, response);
    const refusal = this.#refusal(request, form);
    if (refusal) return this.#trouble({ kind: 'error', ...refusal }, form, response);
    json(response, 201, resource(this.#take(form)));
  }

  #refusal(request: IncomingMessage, form: Readonly<Record<string, string>>) {
    const { method, url, headers } = request;
    const basic = `Basic ${Buffer.from(`${ACCOUNT_SID}:${AUTH_TOKEN}`).toString('base64')}`;
    if (headers.authorization !== basic) return { status: 401, code: 20003 };
    if (method !== 'POST' || url !== `/2010-04-01/Accounts/${ACCOUNT_SID}/Messages.json`)
      return { status: 404, code: 20404 };
    this.complaints.push(...complaintsAboutForm(form));
    const { To: to = '', From: from, MessagingServiceSid: service, Body: body = '', ValidityPeriod: validity } = form;
    if ((from === undefined) === (service === undefined)) return { status: 400, code: 21603 };
    const period = Number(validity ?? 36_000);
    if (!(period >= 1 && period <= 36_000) || body.length > 1_600) return { status: 400, code: 21617 };
    const code = FROM_ERRORS[from ?? ''] ?? TO_ERRORS[to] ?? (/^\+[1-9]\d{6,14}$/.test(to) ? undefined : 21211);
    return code === undefined ? undefined : { status: 400, code };
  }

  #take(form: Readonly<Record<string, string>>): TakenMessage {
    const sid = `SM${randomBytes(16).toString('hex')}`;
    const message = { sid, to: form['To'] ?? '', body: form['Body'] ?? '', form };
    this.messages.push(message);
    return message;
  }

  #trouble(trouble: TwilioTrouble, form: Readonly<Record<string, string>>, response: ServerResponse): void {
    if ('taken' in trouble && trouble.taken) this.#take(form);
    switch (trouble.kind) {
      case 'error': {
        const { status, code, retryAfter, sid } = trouble;
        if (retryAfter !== undefined) response.setHeader('retry-after', retryAfter);
        const more = code === undefined ? null : `https://www.twilio.com/docs/errors/${code}`;
        json(response, status, { code: code ?? null, message: 'no', more_info: more, status, sid });
        return;
      }
      case 'html':
        response.writeHead(trouble.status, { 'content-type': 'text/html' }).end('<h1>Bad Gateway</h1>');
        return;
      case 'hang':
        return;
      case 'reset':
        response.socket?.resetAndDestroy();
        return;
      case 'drip': {
        response.writeHead(201, { 'content-type': 'application/json' }).write('{');
        const timer = setInterval(() => response.write(' '), 20);
        response.once('close', () => clearInterval(timer));
        return;
      }
      case 'flood':
        json(response, 201, { sid: `SM${'a'.repeat(32)}`, body: 'x'.repeat(1_000_000) });
    }
  }
}

/** A status callback as Twilio signs it: the URL, then every name and value in the order of the names. */
export function signedReport(
  message: Pick<TakenMessage, 'sid' | 'to' | 'form'>,
  status: string,
  { errorCode, authToken = AUTH_TOKEN }: { readonly errorCode?: number; readonly authToken?: string } = {},
): { readonly form: URLSearchParams; readonly signature: string } {
  const form = new URLSearchParams({
    MessageSid: message.sid,
    SmsSid: message.sid,
    AccountSid: ACCOUNT_SID,
    MessageStatus: status,
    SmsStatus: status,
    From: message.form['From'] ?? '',
    To: message.to,
    ApiVersion: '2010-04-01',
    ...(errorCode === undefined ? {} : { ErrorCode: String(errorCode) }),
  });
  const signed = [...form].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => `${name}${value}`);
  const text = `${message.form['StatusCallback'] ?? ''}${signed.join('')}`;
  return { form, signature: createHmac('sha1', authToken).update(text).digest('base64') };
}

function resource({ sid, to, body, form }: TakenMessage): Readonly<Record<string, unknown>> {
  const now = new Date().toUTCString().replace('GMT', '+0000');
  const service = form['MessagingServiceSid'] ?? null;
  return {
    sid,
    account_sid: ACCOUNT_SID,
    api_version: '2010-04-01',
    body,
    date_created: now,
    date_sent: null,
    date_updated: now,
    direction: 'outbound-api',
    error_code: null,
    error_message: null,
    from: form['From'] ?? null,
    messaging_service_sid: service,
    num_media: '0',
    num_segments: service === null ? '1' : '0',
    price: null,
    price_unit: null,
    status: service === null ? 'queued' : 'accepted',
    subresource_uris: { media: `/2010-04-01/Accounts/${ACCOUNT_SID}/Messages/${sid}/Media.json` },
    to,
    uri: `/2010-04-01/Accounts/${ACCOUNT_SID}/Messages/${sid}.json`,
  };
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
