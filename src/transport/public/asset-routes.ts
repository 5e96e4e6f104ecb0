import type { PublicReply, PublicRequest, Route } from './router.ts';

/** A page or a part of one, as the build made it. */
export interface Asset {
  readonly path: string;
  readonly contentType: string;
  /** Text, or base64 of bytes. */
  readonly encoding: 'utf8' | 'base64';
  readonly content: string;
  /** Strong entity tag, quoted. */
  readonly etag: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * Routes of what never changes while the process lives. Browsers ask each time whether it did: sidecars of two releases
 * serve side by side during a rollout, so a page must never wait for a part that only its own release has.
 */
export function assetRoutes(assets: readonly Asset[]): readonly Route[] {
  return assets.map((asset) => {
    const body = Buffer.from(asset.content, asset.encoding);
    return { path: asset.path, method: 'GET', kind: 'page', handle: (request) => answer(request, asset, body) };
  });
}

function answer({ headers }: PublicRequest, asset: Asset, body: Buffer): PublicReply {
  const page = asset.contentType.startsWith('text/html');
  const kept = { ...asset.headers, 'cache-control': 'no-cache', etag: asset.etag };
  if (matches(headers['if-none-match'], asset.etag)) return { status: 304, headers: kept, page };
  return { status: 200, contentType: asset.contentType, body, headers: kept, page };
}

/** RFC 9110 section 13.1.2: weak comparison. */
function matches(header: string | undefined, etag: string): boolean {
  return (header ?? '').split(',').some((one) => one.trim().replace(/^W\//, '') === etag || one.trim() === '*');
}
