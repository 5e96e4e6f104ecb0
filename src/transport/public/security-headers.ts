/**
 * What every answer of the public listener carries, errors included (OWASP ASVS 5.0, chapter 3.4). Nothing may be loaded,
 * framed or embedded; a page may load what this origin serves and talk to it. No script or style is ever inline, and text
 * becomes code nowhere (Trusted Types) but in the one policy that names the service worker.
 */

const NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "worker-src 'self'",
  "manifest-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  'trusted-types sallyport',
].join('; ');

/** Features of browsers that no page here uses. */
const SWITCHED_OFF = [
  'accelerometer',
  'autoplay',
  'browsing-topics',
  'camera',
  'display-capture',
  'encrypted-media',
  'fullscreen',
  'geolocation',
  'gyroscope',
  'hid',
  'idle-detection',
  'magnetometer',
  'microphone',
  'midi',
  'payment',
  'picture-in-picture',
  'screen-wake-lock',
  'serial',
  'usb',
  'xr-spatial-tracking',
]
  .map((feature) => `${feature}=()`)
  .join(', ');

export interface HeaderChoice {
  /** Browsers reach the listener by https. */
  readonly https: boolean;
  /** The answer is a page of ours; anything else may load nothing at all. */
  readonly page: boolean;
}

/** Two years, as the preload lists ask for. */
const HSTS = 'max-age=63072000; includeSubDomains';

export function securityHeaders({ https, page }: HeaderChoice): Readonly<Record<string, string>> {
  return {
    'content-security-policy': page ? PAGE : NOTHING,
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-embedder-policy': 'require-corp',
    'cross-origin-resource-policy': 'same-origin',
    'permissions-policy': SWITCHED_OFF,
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'x-robots-tag': 'noindex, nofollow',
    ...(https ? { 'strict-transport-security': HSTS } : {}),
    // Whatever may be kept says so itself.
    'cache-control': 'no-store',
  };
}
