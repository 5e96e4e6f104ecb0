import { createHmac, timingSafeEqual } from 'node:crypto';

/** How far the receiver's clock may be from ours, in seconds, before a call counts as replayed. */
export const TOLERANCE_SECONDS = 300;

/**
 * The header `sallyport-signature`: `t=<seconds since 1970>,v1=<HMAC-SHA-256 in hex>` over `<t>.<body>`. The time is part
 * of what is signed, so that a call that was overheard cannot be made again later.
 */
export function webhookSignature(key: string | Uint8Array, body: string, seconds: number): string {
  return `t=${seconds},v1=${digestOf(key, body, seconds).toString('hex')}`;
}

/** What a receiver does; the example for applications, and held by our tests. */
export function isSignedBy(key: string | Uint8Array, header: string, body: string, nowSeconds: number): boolean {
  const [, time, digest] = /^t=(\d{1,12}),v1=([0-9a-f]{64})$/.exec(header) ?? [];
  if (time === undefined || digest === undefined) return false;
  if (Math.abs(nowSeconds - Number(time)) > TOLERANCE_SECONDS) return false;
  return timingSafeEqual(Buffer.from(digest, 'hex'), digestOf(key, body, Number(time)));
}

function digestOf(key: string | Uint8Array, body: string, seconds: number): Buffer {
  return createHmac('sha256', key).update(`${seconds}.${body}`, 'utf8').digest();
}
