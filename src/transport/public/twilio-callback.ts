import type { SmsCallbacks } from './contract.ts';
import { type Route, text } from './router.ts';

/** Twilio sends about a dozen; more is not Twilio. */
const MAX_PARAMS = 100;

/**
 * Status callbacks of Twilio, which are signed over the whole URL as it was called: so that is put together from the
 * configured origin, never from Host, and path and query as they came.
 */
export function twilioCallback(callbacks: SmsCallbacks, origin: string): Route {
  return {
    path: '/callbacks/twilio',
    method: 'POST',
    kind: 'callback',
    bodyType: 'application/x-www-form-urlencoded',
    handle: async ({ body, target, headers, visit }) => {
      const params = [...new URLSearchParams(body.toString('utf8'))];
      const signature = headers['x-twilio-signature'];
      if (params.length > MAX_PARAMS || typeof signature !== 'string') return text(403, 'Not signed by Twilio.');
      const taken = await callbacks.receive(visit, { url: `${origin}${target}`, signature, params });
      return taken ? { status: 204 } : text(403, 'Not signed by Twilio.');
    },
  };
}
