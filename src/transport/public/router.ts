import type { IncomingHttpHeaders } from 'node:http';
import type { Visit } from './contract.ts';

export interface PublicRequest {
  readonly method: string;
  /** Path and query as they came. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  /** Empty unless the route takes a body. */
  readonly body: Buffer;
  readonly visit: Visit;
}

export interface PublicReply {
  readonly status: number;
  readonly contentType?: string;
  readonly body?: string | Uint8Array;
  /** Besides those of every answer, or in their place. */
  readonly headers?: Readonly<Record<string, string>>;
  /** A page of ours, which may load what this origin serves. */
  readonly page?: boolean;
}

/** Pages and their parts; what changes things; what providers call, often and from few addresses. */
export type RouteKind = 'page' | 'api' | 'callback';

export interface Route {
  /** Exactly as in the request: nothing is decoded, no slash is dropped. Also the name in metrics. */
  readonly path: string;
  /** GET answers HEAD too. */
  readonly method: 'GET' | 'POST';
  readonly kind: RouteKind;
  /** POST: what the body has to be; parameters other than `charset=utf-8` are refused. */
  readonly bodyType?: string;
  readonly handle: (request: PublicRequest) => PublicReply | Promise<PublicReply>;
}

export type Found =
  | { readonly outcome: 'found'; readonly route: Route }
  | { readonly outcome: 'method'; readonly path: string; readonly allow: string }
  | { readonly outcome: 'nothing' };

/** Finds routes by their exact path, so that there is one spelling of each and no rule can be got around by another. */
export class Router {
  readonly #paths = new Map<string, Route[]>();

  constructor(routes: readonly Route[]) {
    for (const route of routes) {
      const same = this.#paths.get(route.path) ?? [];
      if (same.some(({ method }) => method === route.method)) throw new Error(`${route.path} is there twice`);
      this.#paths.set(route.path, [...same, route]);
    }
  }

  find(method: string, target: string): Found {
    const [path = ''] = target.split('?', 1);
    const routes = this.#paths.get(path);
    if (!routes) return { outcome: 'nothing' };
    const wanted = method === 'HEAD' ? 'GET' : method;
    const route = routes.find((one) => one.method === wanted);
    if (route) return { outcome: 'found', route };
    const allow = routes.flatMap((one) => (one.method === 'GET' ? ['GET', 'HEAD'] : [one.method])).join(', ');
    return { outcome: 'method', path, allow };
  }
}

export function text(status: number, body: string, headers: Readonly<Record<string, string>> = {}): PublicReply {
  return { status, contentType: 'text/plain; charset=utf-8', body: `${body}\n`, headers };
}

export function json(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): PublicReply {
  return { status, contentType: 'application/json', body: JSON.stringify(value), headers };
}
