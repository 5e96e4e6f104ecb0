import { existsSync } from 'node:fs';
import { type Browser, type BrowserContext, type CDPSession, chromium, type Page } from 'playwright-core';

/** Where Debian, Ubuntu and others put it; `CHROMIUM` names another one. */
const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** The browser that the tests drive; `npm test` brings it. Throws where there is none: a browser test is never skipped. */
export function chromiumPath(): string {
  const named = process.env['CHROMIUM'];
  const path = named === undefined ? PLACES.find((place) => existsSync(place)) : named;
  if (path === undefined) throw new Error('there is no Chromium: `apt-get install chromium`, or name one in CHROMIUM');
  return path;
}

/**
 * A real Chromium without a window. Its profile is a new temporary folder. Names of other machines resolve to nothing,
 * so that nothing leaves this one; `http://localhost` and loopback addresses are secure contexts.
 */
export function launchChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath: chromiumPath(),
    headless: true,
    // Root cannot use the sandbox, and containers of continuous integration are root.
    chromiumSandbox: process.getuid?.() !== 0,
    args: ['--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1', '--disable-dev-shm-usage'],
  });
}

/** A page, and what went wrong on it: errors of scripts, of the console, of the content security policy, and of loading. */
export interface WatchedPage {
  readonly page: Page;
  readonly troubles: readonly string[];
}

export async function openWatched(context: BrowserContext): Promise<WatchedPage> {
  const page = await context.newPage();
  const troubles: string[] = [];
  page.on('pageerror', (error) => troubles.push(`error: ${error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning')
      troubles.push(`console ${message.type()}: ${message.text()}`);
  });
  page.on('requestfailed', (request) => troubles.push(`not loaded: ${request.url()} ${request.failure()?.errorText}`));
  return { page, troubles };
}

/** A virtual authenticator that is present and verifies its user; answers its id. For WebAuthn without a hand. */
export async function addAuthenticator(
  cdp: CDPSession,
  options: { readonly transport?: 'usb' | 'internal'; readonly userVerified?: boolean } = {},
): Promise<string> {
  await cdp.send('WebAuthn.enable');
  const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: options.transport ?? 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: options.userVerified ?? true,
      automaticPresenceSimulation: true,
    },
  });
  return authenticatorId;
}
