import type { ClusterOptions, RedisOptions } from 'ioredis';
import type { DurationMs } from '#src/domain/time.ts';
import type { Random } from '#src/ports/runtime.ts';

export interface RedisAddress {
  readonly host: string;
  readonly port: number;
}

/** Contents of PEM files, not their names. The certificate of the server is always verified. */
export interface RedisTls {
  /** Left out: those that the system trusts. */
  readonly ca?: string;
  /** Own certificate and its key, where Redis asks for one. */
  readonly cert?: string;
  readonly key?: string;
  /** Name the certificate must have, if not that of the address. */
  readonly serverName?: string;
}

export interface RedisTarget {
  readonly mode: 'single' | 'sentinel' | 'cluster';
  /** The server, the Sentinels, or some nodes of the Cluster; at least one. */
  readonly addresses: readonly RedisAddress[];
  /** Name of the master that the Sentinels watch. */
  readonly masterName: string;
  /** A Cluster has only 0. */
  readonly database: number;
  /** ACL user; '' for the default one. */
  readonly username: string;
  /** '' for none. */
  readonly password: string;
  readonly sentinelPassword: string;
  readonly tls?: RedisTls;
  /** Longest wait for one command. */
  readonly timeoutMs: DurationMs;
}

/** The driver tells the shapes of replies from the options. */
type ServerOptions = Omit<RedisOptions, 'replyMapping'> & { readonly replyMapping: 'legacy' };

/**
 * Both directions of a new connection, and TLS, take a few round trips. No connection is given up before a command on it
 * would be.
 */
export const connectLimit = (timeoutMs: DurationMs): DurationMs =>
  Math.max(timeoutMs, Math.min(Math.max(4 * timeoutMs, 300), 1_000));

const LONGEST_PAUSE_MS = 500;

/** Doubling from 25 ms to half a second, times one half to one and a half: a fleet comes back spread out, and soon. */
export function pauseBefore(attempt: number, random: Random): DurationMs {
  const pause = Math.min(25 * 2 ** Math.min(attempt - 1, 10), LONGEST_PAUSE_MS);
  return pause * (0.5 + (random.bytes(1)[0] ?? 0) / 255);
}

/**
 * Nothing waits in a queue, nothing is sent twice by itself, nothing waits longer than its limit. A connection on which
 * an answer is long overdue is thrown away: TCP alone would notice a dead peer after minutes.
 */
function failFast(target: RedisTarget): ServerOptions {
  const { timeoutMs, tls } = target;
  return {
    replyMapping: 'legacy',
    lazyConnect: true,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    // The limit of a call is the connection's own; this one only ends what nobody waits for any more.
    commandTimeout: 2 * timeoutMs,
    connectTimeout: connectLimit(timeoutMs),
    socketTimeout: connectLimit(timeoutMs),
    // A frozen server does not say goodbye.
    disconnectTimeout: 100,
    maxLoadingRetryTime: LONGEST_PAUSE_MS,
    keepAlive: 10_000,
    disableClientInfo: true,
    ...(target.username === '' ? {} : { username: target.username }),
    ...(target.password === '' ? {} : { password: target.password }),
    ...(tls ? { tls: tlsOptions(tls) } : {}),
  };
}

function tlsOptions(tls: RedisTls): NonNullable<RedisOptions['tls']> {
  return {
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
    ...(tls.ca === undefined ? {} : { ca: tls.ca }),
    ...(tls.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls.key === undefined ? {} : { key: tls.key }),
    ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
  };
}

function sentinelOptions(target: RedisTarget): Omit<RedisOptions, 'replyMapping'> {
  const { timeoutMs, tls } = target;
  return {
    sentinels: target.addresses.map(({ host, port }) => ({ host, port })),
    name: target.masterName,
    role: 'master',
    sentinelCommandTimeout: connectLimit(timeoutMs),
    ...(target.sentinelPassword === '' ? {} : { sentinelPassword: target.sentinelPassword }),
    ...(tls ? { enableTLSForSentinelMode: true, sentinelTLS: tlsOptions(tls) } : {}),
  };
}

/** For a single server, or for the master that the Sentinels name. */
export function serverOptions(target: RedisTarget, random: Random): ServerOptions {
  const [first] = target.addresses;
  const again = (attempt: number) => pauseBefore(attempt, random);
  const place =
    target.mode === 'sentinel'
      ? { ...sentinelOptions(target), sentinelRetryStrategy: again }
      : { host: first?.host ?? '127.0.0.1', port: first?.port ?? 6379 };
  return {
    ...failFast(target),
    ...place,
    db: target.database,
    retryStrategy: again,
    // The ready check asks for the role, which tells a demoted master; a single server needs none.
    enableReadyCheck: target.mode === 'sentinel',
    // After a failover the name, or the Sentinels, lead elsewhere.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  };
}

export function clusterOptions(
  target: RedisTarget,
  random: Random,
): ClusterOptions & { readonly redisOptions: ServerOptions } {
  return {
    lazyConnect: true,
    // A node is connected to when it is first needed, and what comes meanwhile must not fail; the time limit of each
    // command holds in that queue too, and nothing is sent while the Cluster as a whole is not ready.
    enableOfflineQueue: true,
    clusterRetryStrategy: (attempt) => pauseBefore(attempt, random),
    maxRedirections: 5,
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    retryDelayOnTryAgain: 10,
    slotsRefreshTimeout: connectLimit(target.timeoutMs),
    // Names are left to the connection, which then also verifies them.
    dnsLookup: (address, callback) => callback(null, address),
    redisOptions: { ...failFast(target), enableReadyCheck: false },
  };
}

/** One connection for subscriptions that, once closed, stays closed. `node`: where, in a Cluster. */
export function subscriberOptions(target: RedisTarget, limitMs: DurationMs, node?: RedisAddress): ServerOptions {
  const [first] = target.addresses;
  const place =
    target.mode === 'sentinel'
      ? { ...sentinelOptions(target), sentinelRetryStrategy: () => null }
      : { host: node?.host ?? first?.host ?? '127.0.0.1', port: node?.port ?? first?.port ?? 6379 };
  return {
    ...failFast(target),
    ...place,
    commandTimeout: limitMs,
    socketTimeout: limitMs,
    retryStrategy: () => null,
    enableReadyCheck: target.mode === 'sentinel',
  };
}
