import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { Browser, Page } from 'playwright-core';
import { addAuthenticator, launchChromium } from './chromium.ts';
import type { PushServiceStandIn } from './push-service-stand-in.ts';
import { projectRoot, type Sidecar } from './sidecar.ts';
import { SoftwarePushDevice } from './software-push-device.ts';

/** Beyond this the person waits for something that does not come. */
const PATIENCE_MS = 100_000;
const VIRTUAL_KEY = { transport: 'internal' } as const;

/**
 * Somebody who tries out what the documentation says: reads the terminals, types the codes that the log of the sidecar
 * shows, opens links, approves on the device, and carries options and credentials between terminal and browser.
 */
export class Newcomer implements AsyncDisposable {
  readonly #push: PushServiceStandIn;
  readonly #publicUrl: string;
  readonly #passkeyPort: number;
  readonly #troubles: string[] = [];
  #number = '';
  #terminal: ChildProcess | undefined;
  #passkeys: { readonly server: ChildProcess; readonly browser: Browser; readonly page: Page } | undefined;

  constructor(around: {
    readonly sidecar: Sidecar;
    readonly push: PushServiceStandIn;
    readonly publicUrl: string;
    readonly passkeyPort: number;
  }) {
    this.#push = around.push;
    this.#publicUrl = around.publicUrl;
    this.#passkeyPort = around.passkeyPort;
    void this.#read(around.sidecar.child.stderr, (line) => this.#log(line));
  }

  /** What the person could not do, for the message of a test. */
  get troubles(): string {
    return this.#troubles.join('\n');
  }

  /** Runs commands as they are pasted into a terminal; answers what can be seen there. */
  async run(script: string, cwd: string): Promise<{ readonly code: number | null; readonly output: string }> {
    const terminal = spawn('bash', ['-euo', 'pipefail', '-c', script], {
      cwd,
      stdio: ['pipe', 'pipe', 'pipe'],
      // A group of its own, so that the command that runs can be ended with it.
      detached: true,
    });
    this.#terminal = terminal;
    // What is typed when it has just ended.
    terminal.stdin.on('error', () => {});
    let output = '';
    const read = [terminal.stdout, terminal.stderr].map((stream) =>
      this.#read(stream, async (line) => {
        output += `${line}\n`;
        await this.#see(line);
      }),
    );
    const patience = setTimeout(() => {
      output += 'nothing more came\n';
      this.#close();
    }, PATIENCE_MS);
    const code = await new Promise<number | null>((resolve) => terminal.on('exit', resolve));
    clearTimeout(patience);
    await Promise.all(read);
    return { code, output };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
    this.#passkeys?.server.kill();
    await this.#passkeys?.browser.close();
  }

  /** Closes the terminal, with what runs in it. */
  #close(): void {
    const { pid = 0, exitCode = 0, signalCode } = this.#terminal ?? {};
    if (pid > 0 && exitCode === null && signalCode === null) process.kill(-pid);
  }

  /** Resolves when the last line was shown. */
  #read(stream: Readable | null, see: (line: string) => Promise<void> | void): Promise<void> {
    if (!stream) return Promise.resolve();
    const lines = createInterface({ input: stream });
    lines.on('line', async (line) => {
      try {
        await see(line);
      } catch (error) {
        this.#troubles.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
        this.#close();
      }
    });
    return new Promise((resolve) => lines.on('close', resolve));
  }

  #type(text: string): void {
    this.#terminal?.stdin?.write(`${text}\n`);
  }

  #log(line: string): void {
    const message = line.startsWith('{') ? (JSON.parse(line) as Readonly<Record<string, unknown>>) : {};
    const code = /^[0-9]{6}(?= is your )/.exec(String(message['text'] ?? ''))?.[0];
    if (code !== undefined) this.#type(code);
  }

  async #see(line: string): Promise<void> {
    const [, link] = /^open (http\S+)$/.exec(line) ?? [];
    if (link !== undefined) return this.#setUpDevice(link);
    const [, number] = /^type ([0-9]+)$/.exec(line) ?? [];
    if (number !== undefined) this.#number = number;
    if (/^\{.*"challenge":"/.test(line)) this.#type(await this.#usePasskey(line));
  }

  /** What the page behind the link does; the browser is of software, since Chromium without a window cannot subscribe. */
  async #setUpDevice(link: string): Promise<void> {
    const ticket = new URL(link).hash.slice(1);
    const device = new SoftwarePushDevice(this.#push.subscribe());
    const made = { ticket, subscription: device.subscriptionJson, publicKey: device.publicKey };
    const { challenge } = await this.#post('/push/api/enroll', made);
    const signature = device.sign(Buffer.from(String(challenge), 'base64url'));
    await this.#post('/push/api/confirm', { ...made, signature });
    void this.#approveOn(device).catch((error: unknown) => this.#troubles.push(String(error)));
    this.#type('');
  }

  async #approveOn(device: SoftwarePushDevice): Promise<void> {
    await this.#push.delivered(1);
    const [told] = this.#push.deliveries;
    const { challenge, factor, realm } = JSON.parse(told?.text ?? '{}') as Readonly<Record<string, string>>;
    const at = { realm: realm ?? '', challengeId: challenge ?? '', factorId: factor ?? '' };
    const view = await this.#post('/push/api/view', { ...device.look(at, Date.now()) });
    while (this.#number === '') await new Promise((resolve) => setTimeout(resolve, 50));
    await this.#post('/push/api/answer', { ...device.reply(at, view as never, 'approve', this.#number) });
  }

  async #post(path: string, body: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>> {
    const inText = (value: unknown) => (value instanceof Uint8Array ? Buffer.from(value).toString('base64url') : value);
    const response = await fetch(`${this.#publicUrl}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', origin: this.#publicUrl },
      body: JSON.stringify(Object.fromEntries(Object.entries(body).map(([name, value]) => [name, inText(value)]))),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
    return JSON.parse(text) as Readonly<Record<string, unknown>>;
  }

  /** The page of `npm run passkey-page` in Chromium: options in, credential out. */
  async #usePasskey(optionsJson: string): Promise<string> {
    this.#passkeys ??= await this.#openPasskeyPage();
    const { page } = this.#passkeys;
    await page.fill('#options', optionsJson);
    await page.click('#go');
    await page.locator('#told:not(:empty)').waitFor();
    const credential = await page.inputValue('#credential');
    if (credential === '') throw new Error(`the passkey page says: ${await page.textContent('#told')}`);
    return credential;
  }

  async #openPasskeyPage() {
    const port = String(this.#passkeyPort);
    const server = spawn('node', ['scripts/passkey-page.mjs', port], {
      cwd: projectRoot,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => server.stdout.once('data', resolve));
    const browser = await launchChromium();
    const page = await browser.newPage();
    await page.goto(`http://localhost:${port}`);
    await addAuthenticator(await page.context().newCDPSession(page), VIRTUAL_KEY);
    return { server, browser, page };
  }
}
