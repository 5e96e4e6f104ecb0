import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeCertificates } from '../../scripts/servers/certificates.ts';
import { freePort } from '../../scripts/servers/free-port.ts';
import { PushServiceStandIn } from './push-service-stand-in.ts';
import { ACCOUNT_SID, AUTH_TOKEN, FROM_NUMBER, TwilioStandIn } from './twilio-stand-in.ts';
import { WebhookReceiver } from './webhook-receiver.ts';

/** The origin of the application's pages, for software authenticators. */
export const PAGE_ORIGIN = 'http://localhost:4000';
export const WEBHOOK_SECRET = 'planted-webhook-secret-6b1f09c2';

/** Everything outside that sidecars with every factor speak to, and the settings that lead them there. */
export class FactorSite implements AsyncDisposable {
  readonly twilio: TwilioStandIn;
  readonly push: PushServiceStandIn;
  readonly webhook: WebhookReceiver;
  readonly settings: Readonly<Record<string, string>>;
  readonly #publicPorts: readonly number[];
  readonly #origin: string;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    servers: Pick<FactorSite, 'twilio' | 'push' | 'webhook'>,
    ports: readonly number[],
    caFile: string,
    stack: AsyncDisposableStack,
  ) {
    this.twilio = servers.twilio;
    this.push = servers.push;
    this.webhook = servers.webhook;
    this.#publicPorts = ports;
    this.#origin = `http://localhost:${ports[0]}`;
    this.#stack = stack;
    this.settings = {
      MFA_METHODS: '["totp","sms","push","webauthn","backup_code"]',
      TWILIO_ACCOUNT_SID: ACCOUNT_SID,
      TWILIO_AUTH_TOKEN: AUTH_TOKEN,
      TWILIO_FROM_NUMBER: FROM_NUMBER,
      SALLYPORT_TWILIO_BASE_URL: servers.twilio.url,
      SALLYPORT_TWILIO_TIMEOUT: '3s',
      SALLYPORT_SMS_MAX_PER_PREFIX_HOUR: '1000',
      SALLYPORT_SMS_MIN_VERIFIED_SHARE: '0',
      SALLYPORT_LISTENERS_PUBLIC_URL: this.#origin,
      SALLYPORT_PUSH_SUBJECT: 'mailto:security@example.com',
      SALLYPORT_PUSH_HOSTS: '["localhost"]',
      SALLYPORT_PUSH_CA_FILE: caFile,
      SALLYPORT_PUSH_ALLOW_PRIVATE_HOSTS: 'true',
      SALLYPORT_PUSH_TIMEOUT: '3s',
      SALLYPORT_WEBAUTHN_RP_ID: 'localhost',
      SALLYPORT_WEBAUTHN_ORIGINS: JSON.stringify([PAGE_ORIGIN]),
      SALLYPORT_NOTICES_CHANNEL: 'webhook',
      SALLYPORT_NOTICES_WEBHOOK_URL: servers.webhook.url,
      SALLYPORT_NOTICES_WEBHOOK_SECRET: WEBHOOK_SECRET,
    };
  }

  /** For so many sidecars; each has a public listener, and all the public URL of the first. */
  static async start(sidecars = 1): Promise<FactorSite> {
    await using stack = new AsyncDisposableStack();
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-factors-'));
    stack.defer(() => rmSync(folder, { recursive: true, force: true }));
    const certificates = makeCertificates(folder);
    const twilio = stack.use(await TwilioStandIn.start());
    const push = stack.use(await PushServiceStandIn.start(certificates.server));
    const webhook = stack.use(await WebhookReceiver.listen());
    const ports: number[] = [];
    while (ports.length < sidecars) ports.push(await freePort());
    return new FactorSite({ twilio, push, webhook }, ports, certificates.caFile, stack.move());
  }

  /** What only this sidecar has, counted from 0. */
  settingsOf(index: number): Readonly<Record<string, string>> {
    return { SALLYPORT_LISTENERS_PUBLIC_ADDRESS: `127.0.0.1:${this.#publicPorts[index]}` };
  }

  /** A public URL as it is reached at one sidecar. */
  readonly reach = (index: number) => (url: string) =>
    url.replace(this.#origin, `http://127.0.0.1:${this.#publicPorts[index]}`);

  /** Asks the public listener of a sidecar, as one of its own pages does; with a body it posts. */
  async page(index: number, path: string, body?: Readonly<Record<string, unknown>>) {
    const inText = (value: unknown) => (value instanceof Uint8Array ? Buffer.from(value).toString('base64url') : value);
    const fields = Object.entries(body ?? {}).map(([name, value]) => [name, inText(value)]);
    const response = await fetch(`http://127.0.0.1:${this.#publicPorts[index]}${path}`, {
      ...(body && { method: 'POST', body: JSON.stringify(Object.fromEntries(fields)) }),
      headers: { 'content-type': 'application/json', origin: this.#origin },
    });
    const text = await response.text();
    return { status: response.status, text, json: (text === '' ? {} : JSON.parse(text)) as Record<string, unknown> };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}
