/**
 * What went wrong with Redis, by a short code. Errors of the driver stay inside: they carry the arguments of the command,
 * the password of a refused login among them.
 */
export class RedisFailure extends Error {
  override readonly name = 'RedisFailure';
  /** The first word of a reply (`READONLY`), a code of Node (`ECONNREFUSED`), `TIMEOUT`, `CLOSED` or `FAILED`. */
  readonly code: string;

  constructor(code: string) {
    super(`redis: ${code}`);
    this.code = code;
  }
}

export function failureOf(error: unknown): RedisFailure {
  if (error instanceof RedisFailure) return error;
  if (!(error instanceof Error)) return new RedisFailure('FAILED');
  if (error.name === 'ReplyError') return new RedisFailure(/^-?([A-Z]{2,20})\b/.exec(error.message)?.[1] ?? 'ERR');
  if ('code' in error && typeof error.code === 'string' && /^[A-Z0-9_]{2,60}$/.test(error.code))
    return new RedisFailure(error.code);
  // A Cluster, or the Sentinels, of which none could be reached; the last one tells why.
  if ('lastNodeError' in error && error.lastNodeError instanceof Error) return failureOf(error.lastNodeError);
  const last = /Last error: .*?\b([A-Z]{4,20})\b/.exec(error.message)?.[1];
  if (last !== undefined) return new RedisFailure(last);
  if (/timed out|timeout/i.test(error.message)) return new RedisFailure('TIMEOUT');
  if (/writeable|closed|isn't ready|ended|retries per request|startup nodes/i.test(error.message))
    return new RedisFailure('CLOSED');
  return new RedisFailure('FAILED');
}

/** Replies that say nothing about how Redis is doing: a fault of ours, or a slot on its way to another node. */
const NO_OUTAGE: ReadonlySet<string> = new Set(['ERR', 'WRONGTYPE', 'NOSCRIPT', 'CROSSSLOT', 'TRYAGAIN', 'ASK']);

export function isOutage(error: unknown): boolean {
  return !NO_OUTAGE.has(failureOf(error).code);
}

/**
 * Replies after which nothing can be written for a while, although reads may still be answered; waiting for several of
 * them in a row would only let reads hide them. CLUSTERDOWN is not among them: it may be said of a single slot.
 */
const REFUSES_WRITES: ReadonlySet<string> = new Set([
  'READONLY',
  'OOM',
  'MISCONF',
  'NOREPLICAS',
  'MASTERDOWN',
  'LOADING',
  'NOAUTH',
  'WRONGPASS',
  'NOPERM',
]);

export function refusesWrites(failure: RedisFailure): boolean {
  return REFUSES_WRITES.has(failure.code);
}
