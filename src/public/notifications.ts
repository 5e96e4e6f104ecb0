import type { Problem } from './problems.ts';
import { fromBase64url, type SubscriptionFields } from './push-bytes.ts';

/** The browser's side of Web Push: whether it can, and a fresh subscription. */

const WORKER = '/push/sw.js';
const SCOPE = '/push/';

/** Made once: the content security policy lets no second one be made. */
let policy: UrlPolicy | undefined;

/** Why notifications cannot be had in this browser at all, or undefined. */
export function obstacle(): Problem | undefined {
  if (
    !isSecureContext ||
    !('serviceWorker' in navigator) ||
    !('PushManager' in window) ||
    !('Notification' in window)
  ) {
    return isApple()
      ? {
          title: 'Add this page to your Home Screen first',
          text: 'iPhone and iPad show notifications only for pages on the Home Screen.',
          steps: [
            'Touch the share button, and choose “Add to Home Screen”.',
            'Open it from there.',
            'Paste the link that you were given.',
          ],
          again: false,
        }
      : {
          title: 'This browser cannot show notifications',
          text: 'Open the link in another one: Chrome, Edge, Firefox and Safari can, except in private windows.',
          again: false,
        };
  }
  return Notification.permission === 'denied' ? permissionDenied() : undefined;
}

export function permissionDenied(): Problem {
  return {
    title: 'Notifications are switched off',
    text: 'Without them nothing can ask you. Nothing was set up.',
    steps: [
      'Touch the sign in front of the address of this page, and look for “Notifications”.',
      'Choose “Allow”.',
      'Come back to this page, and try again. If you closed it, open your link again.',
    ],
    again: true,
  };
}

export function subscribeFailed(): Problem {
  return {
    title: 'Your browser could not set up notifications',
    text: 'It could not reach its notification service. Some private windows and some networks do not allow it.',
    steps: ['Look whether you are online.', 'Leave private mode.', 'Try again, or use another browser.'],
    again: true,
  };
}

/**
 * A subscription that nobody had before: what is there from an earlier set-up goes. Rejects where the browser or its push
 * service will not.
 */
export async function subscribe(
  applicationServerKey: string,
): Promise<{ readonly subscription: SubscriptionFields; readonly json: string }> {
  const registration = await navigator.serviceWorker.register(workerUrl(), { scope: SCOPE, updateViaCache: 'none' });
  await navigator.serviceWorker.ready;
  const earlier = await registration.pushManager.getSubscription();
  await earlier?.unsubscribe();
  const subscription = await registration.pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: fromBase64url(applicationServerKey),
  });
  const { endpoint, keys } = subscription.toJSON();
  const { p256dh, auth } = keys ?? {};
  if (endpoint === undefined || p256dh === undefined || auth === undefined) throw new Error('no keys');
  const fields = { endpoint, p256dh, auth };
  return { subscription: fields, json: JSON.stringify({ endpoint, keys: { p256dh, auth } }) };
}

/**
 * The one address of a script that a page makes out of text. Where the browser has Trusted Types, the content security
 * policy lets no other be made.
 */
function workerUrl(): string {
  const types = (globalThis as { readonly trustedTypes?: TrustedTypes }).trustedTypes;
  policy ??= types?.createPolicy('sallyport', { createScriptURL: () => WORKER });
  return (policy?.createScriptURL('') as string | undefined) ?? WORKER;
}

interface TrustedTypes {
  createPolicy(name: string, rules: { readonly createScriptURL: (text: string) => string }): UrlPolicy;
}

interface UrlPolicy {
  /** A TrustedScriptURL, which is taken wherever a text is. */
  createScriptURL(text: string): unknown;
}

function isApple(): boolean {
  return (
    /iPhone|iPad/.test(navigator.userAgent) || (/Macintosh/.test(navigator.userAgent) && navigator.maxTouchPoints > 1)
  );
}
