import { SENSITIVITIES } from '../domain/action.ts';
import { longestWithoutPostgres } from '../domain/outage.ts';
import { BY_KEY } from './keys.ts';
import { isLoopback } from './loopback.ts';
import { isSameDatabase, isSocket, type PostgresPlace, readPostgresUrl } from './postgres-url.ts';
import type { CrossProblem } from './problem.ts';
import type { Config } from './schema.ts';
import type { Secret } from './secret.ts';
import { parseDuration } from './units.ts';

/** Rules between the settings of shared state: PostgreSQL, Redis, the trail and what goes on in an outage. */

export interface Findings {
  readonly problems: readonly CrossProblem[];
  readonly notices: readonly string[];
}

export function checkSharedState(config: Config): Findings {
  const parts = [postgres(config), redis(config), outage(config), trail(config)];
  return { problems: parts.flatMap(({ problems }) => problems), notices: parts.flatMap(({ notices }) => notices) };
}

class Collected implements Findings {
  readonly problems: CrossProblem[] = [];
  readonly notices: string[] = [];

  problem(key: string, what: string): void {
    this.problems.push({ path: key.split('.'), what });
  }
}

function postgres({ postgres: { url, audit_url, tls }, environment }: Config): Findings {
  const found = new Collected();
  if (url === undefined) {
    if (audit_url !== undefined)
      found.problem('postgres.audit_url', 'needs postgres.url: it is a second way to the same place');
    return found;
  }
  const place = (key: string, secret: Secret): PostgresPlace | undefined => {
    const read = readPostgresUrl(secret.reveal());
    if (typeof read === 'string') {
      found.problem(key, read);
      return undefined;
    }
    if (environment === 'production' && !read.hasPassword && !isSocket(read))
      found.problem(key, 'must have a password in production: write it into the file that holds the URL');
    return read;
  };
  const state = place('postgres.url', url);
  const events = audit_url === undefined ? undefined : place('postgres.audit_url', audit_url);
  if (state && tls === 'off' && !isSocket(state) && !isLoopback(state.host))
    found.problem(
      'postgres.tls',
      'is off, but postgres.url leads beyond this machine: passwords and data would travel in the clear; set it to verify, and postgres.ca_file if the certificate is from your own authority',
    );
  if (state && events && !isSameDatabase(state, events))
    found.problem(
      'postgres.audit_url',
      'must lead to the same host, port and database as postgres.url, with another user',
    );
  if (state && events?.user === state.user)
    found.notices.push(
      'postgres.audit_url has the user of postgres.url: one that may only add events protects the trail',
    );
  if (environment === 'production' && audit_url === undefined)
    found.notices.push(
      'postgres.audit_url is left out: events are flushed by the user of postgres.url, who may do more than add them',
    );
  return found;
}

function redis({ redis, postgres: { url }, environment }: Config): Findings {
  const found = new Collected();
  const { mode, addresses, tls } = redis;
  if (mode === 'off') return found;
  if (url === undefined)
    found.problem('redis.mode', 'needs postgres.url: Redis holds copies, and nothing that must last');
  if (mode === 'single' && addresses.length > 1)
    found.problem('redis.addresses', 'names more than one server: set redis.mode to sentinel or cluster, or name one');
  if (mode === 'sentinel' && redis.master_name === '')
    found.problem('redis.master_name', 'must be the name that the Sentinels know the master by');
  if (mode !== 'sentinel' && redis.sentinel_password !== undefined)
    found.problem('redis.sentinel_password', `is for redis.mode sentinel, not ${mode}`);
  if (mode === 'cluster' && redis.database !== 0)
    found.problem('redis.database', 'must be 0: a Cluster has no other; tell products apart by redis.prefix');
  for (const [index, address] of addresses.entries()) {
    const port = Number(address.slice(address.lastIndexOf(':') + 1));
    if (port < 1 || port > 65_535)
      found.problems.push({ path: ['redis', 'addresses', index], what: 'has a port that is no port' });
  }
  if (redis.username !== '' && redis.password === undefined)
    found.problem('redis.password', `must be given with redis.username`);
  if ((tls.cert_file === '') !== (tls.key_file === ''))
    found.problem(
      `redis.tls.${tls.cert_file === '' ? 'cert_file' : 'key_file'}`,
      'must be given: certificate and key go together',
    );
  for (const key of ['ca_file', 'cert_file', 'server_name'] as const)
    if (!tls.enabled && tls[key] !== '')
      found.problem(`redis.tls.${key}`, 'is given, but redis.tls.enabled is false: nothing would be encrypted');
  const beyond = addresses.some(
    (address) => !isLoopback(address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '')),
  );
  const isProduction = environment === 'production';
  if (!tls.enabled && beyond) {
    if (isProduction)
      found.problem(
        'redis.tls.enabled',
        'must be true in production where Redis is beyond loopback: its password would travel in the clear',
      );
    else
      found.notices.push('redis.tls.enabled is false, and Redis is beyond loopback: its password travels in the clear');
  }
  if (isProduction && redis.password === undefined && tls.cert_file === '')
    found.problem(
      'redis.password',
      'must be given in production, or redis.tls.cert_file: whoever reaches Redis could drop and delay news',
    );
  return found;
}

function outage({ outage, postgres: { url }, audit }: Config): Findings {
  const found = new Collected();
  for (const [index, sensitivity] of SENSITIVITIES.entries()) {
    const lower = SENSITIVITIES[index - 1];
    if (lower === undefined) continue;
    if (outage.postgres[sensitivity] > outage.postgres[lower])
      found.problem(
        `outage.postgres.${sensitivity}`,
        `must not be longer than outage.postgres.${lower} (${shown(outage.postgres[lower])})`,
      );
    if (outage.redis[lower] === 'refuse' && outage.redis[sensitivity] !== 'refuse')
      found.problem(`outage.redis.${sensitivity}`, `must be refuse, as outage.redis.${lower} is`);
  }
  if (url === undefined) return found;
  for (const sensitivity of SENSITIVITIES) {
    const key = `outage.postgres.${sensitivity}`;
    const usual = parseDuration(String(BY_KEY.get(key)?.note.fallback)) ?? 0;
    const limit = outage.postgres[sensitivity];
    if (limit > usual)
      found.notices.push(
        `${key} is ${shown(limit)}: for so long ${sensitivity} use goes on without the database (${shown(usual)} by default)`,
      );
  }
  if (audit.max_age < longestWithoutPostgres(outage))
    found.notices.push(
      'audit.max_age is shorter than the longest of outage.postgres: the sidecar stops being ready at that age',
    );
  return found;
}

function trail({ audit, postgres: { url } }: Config): Findings {
  const found = new Collected();
  if (audit.mode === 'strict' && url === undefined)
    found.problem('audit.mode', 'needs postgres.url to be strict: events would have nowhere to go but the local disk');
  return found;
}

function shown(ms: number): string {
  return ms % 60_000 === 0 && ms > 0 ? `${ms / 60_000}m` : `${ms / 1000}s`;
}
