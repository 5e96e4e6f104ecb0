import type { Browser, BrowserContext, CDPSession, Worker } from 'playwright-core';
import { openWatched, type WatchedPage } from './chromium.ts';
import { until } from './until.ts';

/** What the push service gives a browser, and the keys that the browser makes. */
export interface SubscriptionKeys {
  readonly endpoint: string;
  readonly p256dh: string;
  readonly auth: string;
}

/**
 * A browser of somebody who allows notifications. Chromium without a window cannot subscribe: that needs its vendor's
 * service. So `subscribe` answers the keys that the test made, and what the push service would bring comes over the
 * DevTools protocol; all the rest is the browser's own.
 */
export class PushBrowser {
  readonly context: BrowserContext;
  readonly origin: string;
  readonly keys: SubscriptionKeys;
  readonly #registrations = new Map<string, string>();
  readonly #cdp: CDPSession;

  private constructor(context: BrowserContext, cdp: CDPSession, origin: string, keys: SubscriptionKeys) {
    this.context = context;
    this.origin = origin;
    this.keys = keys;
    this.#cdp = cdp;
    cdp.on('ServiceWorker.workerRegistrationUpdated', ({ registrations }) => {
      for (const one of registrations) if (!one.isDeleted) this.#registrations.set(one.scopeURL, one.registrationId);
    });
  }

  static async open(
    browser: Browser,
    origin: string,
    keys: SubscriptionKeys,
    options: Parameters<Browser['newContext']>[0] & { readonly allows?: boolean } = {},
  ): Promise<PushBrowser> {
    const { allows = true, ...rest } = options;
    const context = await browser.newContext({ viewport: { width: 390, height: 844 }, ...rest });
    const keeper = await context.newPage();
    const cdp = await context.newCDPSession(keeper);
    // Not asked, it says no by itself.
    if (allows) await context.grantPermissions(['notifications'], { origin });
    await context.addInitScript(
      ({ endpoint, p256dh, auth }) => {
        const made = { endpoint, toJSON: () => ({ endpoint, keys: { p256dh, auth } }) };
        Object.defineProperty(globalThis, 'subscribedWith', { value: [], writable: true });
        // biome-ignore lint/suspicious/noExplicitAny: runs in the page, which has the types of a browser.
        const page = globalThis as any;
        page.PushManager.prototype.getSubscription = async () => null;
        page.PushManager.prototype.subscribe = async (options: unknown) => {
          page.subscribedWith.push(options);
          return made;
        };
      },
      { endpoint: keys.endpoint, p256dh: keys.p256dh, auth: keys.auth },
    );
    const made = new PushBrowser(context, cdp, origin, keys);
    await cdp.send('ServiceWorker.enable');
    return made;
  }

  async page(path: string): Promise<WatchedPage> {
    const watched = await openWatched(this.context);
    await watched.page.goto(`${this.origin}${path}`);
    return watched;
  }

  /** The person changes their mind in the settings of the browser. */
  async allow(): Promise<void> {
    await this.context.grantPermissions(['notifications'], { origin: this.origin });
  }

  /**
   * What the push service brings, decrypted; resolves when the notification is shown. Throws where no service worker is
   * there for it.
   */
  async deliver(payload: string): Promise<void> {
    const scope = `${this.origin}/push/`;
    // Word of the registration comes a moment after the page has it, and a message without one would be lost.
    await until(() => this.#registrations.has(scope));
    const registrationId = this.#registrations.get(scope) ?? '';
    const worker = await this.worker();
    // Nobody may ask which are shown before it is: Chromium forgets one that it is just about to show.
    await worker.evaluate(() => {
      // biome-ignore lint/suspicious/noExplicitAny: runs in the service worker.
      const self = globalThis as any;
      self.shown = new Promise<void>((resolve, reject) => {
        self.registration.showNotification = async (...args: readonly unknown[]) => {
          delete self.registration.showNotification;
          await self.registration.showNotification(...args).then(resolve, reject);
        };
      });
    });
    await this.#cdp.send('ServiceWorker.deliverPushMessage', { origin: this.origin, registrationId, data: payload });
    await worker.evaluate('shown');
  }

  async worker(): Promise<Worker> {
    const [worker] = this.context.serviceWorkers();
    return worker ?? (await this.context.waitForEvent('serviceworker'));
  }

  /** Notifications that are shown, by the service worker's word. */
  async notifications(): Promise<readonly { readonly title: string; readonly body: string; readonly data: string }[]> {
    const worker = await this.worker();
    return await worker.evaluate(async () => {
      // biome-ignore lint/suspicious/noExplicitAny: runs in the service worker.
      const shown = await (globalThis as any).registration.getNotifications();
      return shown.map(({ title, body, data }: { title: string; body: string; data: string }) => ({
        title,
        body,
        data,
      }));
    });
  }

  /**
   * Touches the newest notification. A real touch lets the worker open a window; without a hand it may not, so what it
   * asked to open is answered instead; '' when a window that is open was used.
   */
  async touch(): Promise<string> {
    const worker = await this.worker();
    return await worker.evaluate(async () => {
      // biome-ignore lint/suspicious/noExplicitAny: runs in the service worker.
      const self = globalThis as any;
      let opened = '';
      self.clients.openWindow = async (url: string) => {
        opened = url;
      };
      const notification = (await self.registration.getNotifications()).at(-1);
      const event = new self.NotificationEvent('notificationclick', { notification });
      const waiting: unknown[] = [];
      event.waitUntil = (work: unknown) => waiting.push(work);
      self.dispatchEvent(event);
      await Promise.all(waiting);
      return opened;
    });
  }
}
