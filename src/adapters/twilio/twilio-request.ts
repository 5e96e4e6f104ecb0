import base from 'twilio/lib/base/BaseTwilio.js';
import RequestClient from 'twilio/lib/base/RequestClient.js';

// These in place of the whole client, which is ten times as large: one request of one API is all that is made.

export interface TwilioAccess {
  readonly accountSid: string;
  readonly authToken: string;
  /** Origin and, behind a proxy, path in front of `/2010-04-01`. */
  readonly baseUrl: string;
  readonly timeoutMs: number;
  /** PEM, in place of the authorities of the system. */
  readonly ca?: string;
}

/** What came back, without anything of what was sent. */
export type TwilioAnswer =
  | {
      readonly kind: 'answer';
      readonly status: number;
      /** Twilio's error code. */
      readonly code: number | undefined;
      /** The message, if it was made. */
      readonly sid: string;
      readonly retryAfter: string;
    }
  /** `sent: false`: the connection was not even made. */
  | { readonly kind: 'failure'; readonly sent: boolean; readonly tls: boolean; readonly timedOut: boolean };

const MAX_ANSWER_BYTES = 64 * 1024;

/**
 * The library's client remembers what it sent last and puts it, with the credentials, into its errors. So each request has
 * a client of its own, and no error leaves this file.
 */
class OneRequest extends RequestClient {
  readonly #url: string;

  constructor({ timeoutMs, ca }: TwilioAccess, url: string) {
    // Without kept connections none is used that the other side is just closing, which looks like a lost answer.
    super({ timeout: timeoutMs, keepAlive: false, ...(ca === undefined ? {} : { ca }) });
    this.#url = url;
    this.axios.interceptors.request.use((config) => {
      // The client's own time-out begins anew with every byte.
      config.signal = AbortSignal.timeout(timeoutMs);
      config.maxContentLength = MAX_ANSWER_BYTES;
      return config;
    });
  }

  /** To the URL as it is: the client rewrites hosts, for edges and regions that the environment may name. */
  override request<TData>(options: RequestClient.RequestOptions<TData>) {
    return super.request<TData>({ ...options, uri: this.#url });
  }
}

/** Makes a message of the fields of Twilio's Messages resource. Never rejects; bounded in time. */
export async function createMessage(
  access: TwilioAccess,
  fields: Readonly<Record<string, string>>,
): Promise<TwilioAnswer> {
  const { accountSid, authToken } = access;
  const uri = `${access.baseUrl.replace(/\/+$/, '')}/2010-04-01/Accounts/${accountSid}/Messages.json`;
  try {
    const httpClient = new OneRequest(access, uri);
    const client = new base.Client(accountSid, authToken, { httpClient });
    const response: unknown = await client.request({ method: 'post', uri, data: fields });
    const body = fieldOf(response, 'body');
    const code = fieldOf(body, 'code') ?? fieldOf(body, 'error_code');
    return {
      kind: 'answer',
      status: Number(fieldOf(response, 'statusCode')),
      code: typeof code === 'number' ? code : undefined,
      sid: textOf(fieldOf(body, 'sid')),
      retryAfter: textOf(fieldOf(fieldOf(response, 'headers'), 'retry-after')),
    };
  } catch (error) {
    return failureOf(error);
  }
}

function failureOf(error: unknown): TwilioAnswer {
  const seen = [error, fieldOf(error, 'cause')];
  const codes = seen.map((one) => textOf(fieldOf(one, 'code')));
  const calls = seen.map((one) => textOf(fieldOf(one, 'syscall')));
  const tls = codes.some((code) => TLS_REFUSED.test(code));
  const connected = !codes.includes('ECONNREFUSED') && !calls.includes('connect') && !calls.includes('getaddrinfo');
  const timedOut = codes.some((code) => code === 'ECONNABORTED' || code === 'ERR_CANCELED');
  return { kind: 'failure', sent: connected && !tls, tls, timedOut };
}

/** The handshake failed, and a request waits for that: nothing of it was written. */
const TLS_REFUSED = /CERT|SELF_SIGNED|UNABLE_TO_(?:VERIFY|GET)|ERR_TLS|ERR_SSL/;

function fieldOf(from: unknown, name: string): unknown {
  return Object(from)[name];
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
