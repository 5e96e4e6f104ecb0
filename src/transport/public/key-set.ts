import type { Log } from '../../ports/telemetry.ts';
import { type Route, text } from './router.ts';

/** The public keys of receipts as a JWK Set (RFC 7517), for services that verify receipts by themselves. */
export function keySet(jwks: () => Promise<unknown>, log: Log): Route {
  return {
    path: '/.well-known/jwks.json',
    method: 'GET',
    kind: 'page',
    handle: async () => {
      try {
        return {
          status: 200,
          contentType: 'application/jwk-set+json',
          body: JSON.stringify(await jwks()),
          headers: { 'cache-control': 'public, max-age=300' },
        };
      } catch (error) {
        log.warn('the key set could not be read', { error: String(error) });
        return text(503, 'The key set cannot be read right now.', { 'retry-after': '1' });
      }
    },
  };
}
