import { createServer } from 'node:http';
import { describe, expect, it, vi } from 'vitest';
import { listenOn } from '#src/transport/listen.ts';
import { addAuthenticator, launchChromium, openWatched } from '../support/chromium.ts';

describe('the browser of the tests', () => {
  it('runs, tells what goes wrong on a page, and has an authenticator', async () => {
    const server = createServer((_request, response) => {
      response.setHeader('content-security-policy', "default-src 'none'");
      response.setHeader('content-type', 'text/html');
      response.end('<!doctype html><title>t</title><script>document.title = "ran"</script>');
    });
    const bound = await listenOn(server, { kind: 'tcp', host: '127.0.0.1', port: 0 });
    const port = bound.kind === 'tcp' ? bound.port : 0;
    const browser = await launchChromium();
    try {
      const { page, troubles } = await openWatched(await browser.newContext());
      await page.goto(`http://localhost:${port}/`);
      expect(await page.title()).toBe('t');
      await vi.waitUntil(() => troubles.join().includes('Content Security Policy'), { timeout: 10_000 });
      const id = await addAuthenticator(await page.context().newCDPSession(page));
      expect(id).not.toBe('');
      expect(await page.evaluate('isSecureContext')).toBe(true);
    } finally {
      await browser.close();
      server.closeAllConnections();
      server.close();
    }
  });

  it('reaches nothing but this machine', async () => {
    const browser = await launchChromium();
    try {
      const page = await browser.newPage();
      await expect(page.goto('http://example.com/')).rejects.toThrow('ERR_NAME_NOT_RESOLVED');
    } finally {
      await browser.close();
    }
  });
});
