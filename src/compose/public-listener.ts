import type { Config } from '#src/config/schema.ts';
import { publicAssets } from '#src/gen/public/assets.js';
import type { Clock } from '#src/ports/runtime.ts';
import type { HttpMetrics, Log } from '#src/ports/telemetry.ts';
import type { ReceiptAuthority } from '#src/services/contracts.ts';
import type { PushDevices } from '#src/services/methods/push-api.ts';
import type { ListenAddress } from '#src/transport/listen.ts';
import { assetRoutes } from '#src/transport/public/asset-routes.ts';
import type { NotMe, SmsCallbacks } from '#src/transport/public/contract.ts';
import { jsonApi } from '#src/transport/public/json-api.ts';
import { keySet } from '#src/transport/public/key-set.ts';
import { notMeRoutes } from '#src/transport/public/not-me-routes.ts';
import { PublicServer } from '#src/transport/public/public-server.ts';
import { pushRoutes } from '#src/transport/public/push-routes.ts';
import type { Route } from '#src/transport/public/router.ts';
import { twilioCallback } from '#src/transport/public/twilio-callback.ts';

export interface PublicDependencies {
  readonly config: Config;
  readonly addresses: readonly ListenAddress[];
  readonly services: {
    readonly receipts: Pick<ReceiptAuthority, 'jwks'>;
    readonly notMe: NotMe;
    /** Undefined where push is switched off. */
    readonly pushDevices?: PushDevices | undefined;
    /** Undefined where no provider reports. */
    readonly smsCallbacks?: SmsCallbacks | undefined;
  };
  readonly instanceId: string;
  readonly clock: Clock;
  readonly metrics: HttpMetrics;
  readonly log: Log;
}

/** The listener that browsers and providers reach, with the routes of what is switched on. */
export function composePublic(deps: PublicDependencies): PublicServer {
  const { config } = deps;
  const { url, trust_proxy: trustProxy } = config.listeners.public;
  return new PublicServer({
    ...deps,
    routes: [keySet(() => deps.services.receipts.jwks(), deps.log), ...(url === '' ? [] : routesAt(url, deps))],
    https: url.startsWith('https:'),
    trustProxy,
    maxConnections: config.limits.max_connections,
  });
}

/** What has to know how it is reached from outside. */
function routesAt(url: string, { config, services, log }: PublicDependencies): readonly Route[] {
  const { origin } = new URL(url);
  const { pushDevices, smsCallbacks, notMe } = services;
  const api = jsonApi({ origin, log });
  const appName = config.listeners.public.app_name;
  const shown = publicAssets.filter(({ path }) => pushDevices !== undefined || !path.startsWith('/push/'));
  return [
    ...assetRoutes(shown),
    ...notMeRoutes(notMe, api),
    ...(pushDevices ? pushRoutes({ devices: pushDevices, appName, api }) : []),
    ...(smsCallbacks ? [twilioCallback(smsCallbacks, origin)] : []),
  ];
}
