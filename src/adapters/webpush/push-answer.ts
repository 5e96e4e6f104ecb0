import { DAY, type DurationMs, type EpochMs, SECOND } from '#src/domain/time.ts';
import type { PushResult } from '#src/ports/senders.ts';

/** What a push service said (RFC 8030 sections 5 and 8.4); `retryAfter` is its header, '' if absent. */
export function resultOf(status: number, retryAfter: string, now: EpochMs): PushResult {
  // The id that a service gives is a capability URL of its own, so it is not kept. Taken is not delivered.
  if (status >= 200 && status < 300) return { outcome: 'accepted', providerId: '' };
  if (status === 404 || status === 410) return { outcome: 'gone' };
  if (status === 413) return rejected('TOO_LARGE', status, false);
  if (status === 400 || status === 401 || status === 403) return rejected('VAPID', status, true);
  // The service of Windows answers 406 where others answer 429.
  if (status === 429 || status === 406) return retry('RATE_LIMITED', retryAfter, now);
  if (status === 408 || status >= 500) return retry('PROVIDER_DOWN', retryAfter, now);
  if (status >= 300 && status < 400) return rejected('REDIRECTED', status, false);
  return rejected('REFUSED', status, false);
}

/** A connection that failed. `connected`: the request may have gone out, so it may have been taken. */
export function resultOfError(error: unknown, connected: boolean): PushResult {
  const code = codeOf(error);
  if (code === 'ADDRESS_REFUSED') return { outcome: 'rejected', reason: 'ADDRESS_REFUSED', code, config: true };
  if (UNTRUSTED.test(code)) return { outcome: 'rejected', reason: 'TLS', code, config: true };
  if (connected) return { outcome: 'unknown', reason: 'NO_ANSWER' };
  return { outcome: 'retry', reason: 'PROVIDER_DOWN', afterMs: undefined };
}

/** The certificate is not one to trust, or for another name. */
const UNTRUSTED = /^(?:ERR_TLS_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/;

function retry(reason: string, retryAfter: string, now: EpochMs): PushResult {
  return { outcome: 'retry', reason, afterMs: delayOf(retryAfter, now) };
}

function rejected(reason: string, status: number, config: boolean): PushResult {
  return { outcome: 'rejected', reason, code: String(status), config };
}

/** Seconds or a date (RFC 9110 section 10.2.3), at most a day. */
function delayOf(retryAfter: string, now: EpochMs): DurationMs | undefined {
  if (/^[0-9]{1,9}$/.test(retryAfter)) return Math.min(DAY, Number(retryAfter) * SECOND);
  const at = /GMT$/.test(retryAfter) ? Date.parse(retryAfter) : Number.NaN;
  return Number.isNaN(at) ? undefined : Math.min(DAY, Math.max(0, at - now));
}

function codeOf(error: unknown): string {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : '';
}
