import type { NotMe } from './contract.ts';
import type { jsonApi } from './json-api.ts';
import type { Route } from './router.ts';

const MAX_TOKEN = 2_048;

/**
 * The link "this was not me". The token is in the part of the link that browsers send nowhere; the page posts it. To look
 * changes nothing, since scanners of mail follow links: it takes a second, deliberate request to lock.
 */
export function notMeRoutes(notMe: NotMe, api: ReturnType<typeof jsonApi>): readonly Route[] {
  return [
    api('/not-me/api/view', async (visit, fields) => {
      const view = await notMe.view(visit, fields.text('token', MAX_TOKEN));
      return view ? { found: true, ...view } : { found: false };
    }),
    api('/not-me/api/confirm', async (visit, fields) => ({
      locked: await notMe.confirm(visit, fields.text('token', MAX_TOKEN)),
    })),
  ];
}
