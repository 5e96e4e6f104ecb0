import { allDevices, deviceOf } from '../device-store.ts';

/** Shows that somebody asks, and brings the person to the page that says what. It fetches nothing and answers nothing. */

declare const self: ServiceWorkerGlobalScope;

const PAGE = '/push/approve';

interface Payload {
  readonly v: 1;
  readonly kind: 'approval';
  readonly challenge: string;
  readonly factor: string;
}

self.addEventListener('install', (event) => event.waitUntil(self.skipWaiting()));
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

self.addEventListener('push', (event) => event.waitUntil(notify(event.data)));

self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data));
});

// The browser gave up the subscription, so nothing arrives here any more.
self.addEventListener('pushsubscriptionchange', (event) => {
  (event as ExtendableEvent).waitUntil(
    self.registration.showNotification('Approvals have to be set up again', {
      body: 'Your browser no longer gets them. Set this browser up again.',
      tag: 'sallyport-gone',
    }),
  );
});

async function notify(data: PushMessageData | null): Promise<void> {
  const payload = read(data);
  const device = payload ? await deviceOf(payload.factor).catch(() => undefined) : undefined;
  const [any] = device ? [device] : await allDevices().catch(() => []);
  // Only the newest can be approved. Each has a tag of its own, so that closing an older one never closes a newer one.
  for (const earlier of await self.registration.getNotifications()) earlier.close();
  // Something has to be shown for every push, or the browser takes the permission away.
  await self.registration.showNotification(`${any?.appName ?? 'Your account'} asks for your approval`, {
    body: 'Open this to see what it is about.',
    icon: '/assets/icon.png',
    badge: '/assets/icon.png',
    tag: payload?.challenge ?? '',
    requireInteraction: true,
    data: payload ? `${payload.challenge}/${payload.factor}` : '',
  });
}

function read(data: PushMessageData | null): Payload | undefined {
  try {
    const value: unknown = data?.json();
    if (typeof value !== 'object' || value === null) return undefined;
    const { v, kind, challenge, factor } = value as Partial<Payload>;
    const known = v === 1 && kind === 'approval' && isId(challenge) && isId(factor);
    return known ? { v, kind, challenge, factor } : undefined;
  } catch {
    return undefined;
  }
}

function isId(value: unknown): value is string {
  return typeof value === 'string' && /^[a-z]{3}_[0-9a-z]{1,60}$/.test(value);
}

async function open(approval: unknown): Promise<void> {
  const fragment = typeof approval === 'string' ? approval : '';
  const windows = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
  const shown = windows.find((one) => new URL(one.url).pathname === PAGE);
  if (!shown) {
    await self.clients.openWindow(`${PAGE}#${fragment}`);
    return;
  }
  await shown.focus().catch(() => undefined);
  shown.postMessage({ approval: fragment });
}
