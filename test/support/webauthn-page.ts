import { createServer, type Server } from 'node:http';
import type { Browser, CDPSession, Page } from 'playwright-core';
import { listenOn } from '#src/transport/listen.ts';
import { addAuthenticator, launchChromium } from './chromium.ts';

/** What makes and uses a credential: a browser, or a software authenticator. */
export interface Key {
  /** PublicKeyCredentialCreationOptionsJSON to RegistrationResponseJSON. */
  register(optionsJson: string): Promise<string> | string;
  /** PublicKeyCredentialRequestOptionsJSON to AuthenticationResponseJSON. */
  assert(optionsJson: string): Promise<string> | string;
}

/** A page of an application in Chromium, with a virtual authenticator, as docs/webauthn.md tells applications to use it. */
export class WebAuthnPage implements Key {
  readonly origin: string;
  readonly page: Page;
  readonly cdp: CDPSession;
  readonly authenticatorId: string;
  readonly #browser: Browser;
  readonly #server: Server;

  private constructor(
    server: Server,
    browser: Browser,
    page: { readonly origin: string; readonly page: Page; readonly cdp: CDPSession; readonly authenticatorId: string },
  ) {
    this.#server = server;
    this.#browser = browser;
    this.origin = page.origin;
    this.page = page.page;
    this.cdp = page.cdp;
    this.authenticatorId = page.authenticatorId;
  }

  static async open(options: { readonly transport?: 'usb' | 'internal' } = {}): Promise<WebAuthnPage> {
    const server = createServer((_request, response) => {
      response.setHeader('content-type', 'text/html');
      response.end('<!doctype html><title>application</title>');
    });
    const bound = await listenOn(server, { kind: 'tcp', host: '127.0.0.1', port: 0 });
    if (bound.kind !== 'tcp') throw new Error('not a port');
    const origin = `http://localhost:${bound.port}`;
    const browser = await launchChromium();
    const page = await (await browser.newContext()).newPage();
    await page.goto(origin);
    const cdp = await page.context().newCDPSession(page);
    const authenticatorId = await addAuthenticator(cdp, options);
    return new WebAuthnPage(server, browser, { origin, page, cdp, authenticatorId });
  }

  register(optionsJson: string): Promise<string> {
    return this.#run(`
      const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(JSON.parse(${JSON.stringify(optionsJson)}));
      return JSON.stringify((await navigator.credentials.create({ publicKey })).toJSON());
    `);
  }

  assert(optionsJson: string): Promise<string> {
    return this.#run(`
      const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(${JSON.stringify(optionsJson)}));
      return JSON.stringify((await navigator.credentials.get({ publicKey })).toJSON());
    `);
  }

  /** Whether the authenticator finds its user from now on. */
  async setUserVerified(isUserVerified: boolean): Promise<void> {
    await this.cdp.send('WebAuthn.setUserVerified', { authenticatorId: this.authenticatorId, isUserVerified });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #run(body: string): Promise<string> {
    return this.page.evaluate(`(async () => {${body}})()`);
  }
}
