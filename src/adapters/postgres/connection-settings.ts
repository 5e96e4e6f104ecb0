import type { ClientConfig } from 'pg';
import { Fault } from '#src/domain/faults.ts';
import type { DurationMs } from '#src/domain/time.ts';
import { type TlsMode, tlsOptions } from './postgres-tls.ts';

/**
 * How every connection to PostgreSQL is made: by the pool, the flush and the migrations. Nobody else reads the URL.
 * Nothing is set for the session (a pooler in transaction mode would lose it, or keep it for somebody else), and the
 * driver never sees the URL, since it would take weaker TLS, and more, from it.
 */

export interface PostgresAddress {
  /** `postgresql://user:password@host:5432/database`, or a Unix socket: `postgresql://user@/database?host=/run/postgresql`. */
  readonly url: string;
  readonly tls: TlsMode;
  /** PEM file; '' for the authorities of the system. */
  readonly caFile: string;
  /** For TCP, TLS and the log-in together. */
  readonly connectTimeoutMs: DurationMs;
  /** As the server shows it in pg_stat_activity. */
  readonly applicationName?: string;
}

export interface ConnectionSettings {
  /** For `new Client(…)`. The password is a function, so that nothing that prints the record shows it. */
  readonly client: ClientConfig;
  /** `host:port/database`, for messages. */
  readonly place: string;
  readonly user: string;
  readonly database: string;
}

const DEFAULT_PORT = 5432;
const KEEP_ALIVE_AFTER_MS = 10_000;
/** Of the sslmodes of libpq those that ask for TLS; all are taken as the strictest. */
const STRICT_MODES = ['require', 'verify-ca', 'verify-full'];
const LOOSE_MODES = ['disable', 'allow', 'prefer', 'no-verify'];

/** Where other parameters of libpq and of the driver have their place, for the message. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  ssl: 'set postgres.tls',
  sslrootcert: 'set postgres.ca_file',
  sslcert: 'client certificates are not supported; use a password',
  sslkey: 'client certificates are not supported; use a password',
  user: 'write it before the @',
  password: 'write it before the @',
  dbname: 'write it after the /',
  connect_timeout: 'set postgres.timeout',
  statement_timeout: 'set postgres.timeout',
  target_session_attrs: 'name the endpoint of the writer as the host',
  options: 'a pooler would lose settings of the session',
  uselibpqcompat: 'leave it out',
};

/**
 * Reads the URL into options of the driver. Throws Fault(precondition) with one sentence that says what to write instead
 * and never repeats a password, not even of a URL that cannot be read.
 */
export function connectionSettings(address: PostgresAddress): ConnectionSettings {
  const { host, port, user, password, database, applicationName, wantsTls } = parse(address.url);
  const ssl = tlsOptions(host, address.tls, address.caFile);
  if (wantsTls && ssl === false && !host.startsWith('/')) {
    throw refusal('the URL asks for TLS by sslmode, but postgres.tls is off; make both say the same');
  }
  return {
    client: {
      host,
      port,
      user,
      password: () => password,
      database,
      // Never undefined: then the driver would ask PGSSLMODE.
      ssl,
      application_name: address.applicationName ?? applicationName ?? 'sallyport',
      connectionTimeoutMillis: address.connectTimeoutMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_AFTER_MS,
    },
    place: host.startsWith('/') ? `${host}/${database}` : `${bracketed(host)}:${port}/${database}`,
    user,
    database,
  };
}

interface Parsed {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly applicationName: string | undefined;
  readonly wantsTls: boolean;
}

function parse(written: string): Parsed {
  const url = urlOf(written.trim());
  const params = readParams(url);
  const socket = params.get('host');
  const named = decoded(url.hostname).replace(/^\[|\]$/g, '');
  const host = socket ?? (named === PLACEHOLDER ? '' : named);
  if (host === '') throw refusal('the URL names no host: write postgresql://user:password@host:5432/database');
  if (host.includes(',')) {
    throw refusal('the URL names more than one host; give the endpoint of the writer alone');
  }
  const port = Number(params.get('port') ?? (url.port || DEFAULT_PORT));
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw refusal('the URL has a port that is no port');
  const user = decoded(url.username);
  if (user === '') throw refusal('the URL names no user: write postgresql://user:password@host:5432/database');
  const path = url.pathname.slice(1);
  if (path === '') throw refusal('the URL names no database: write postgresql://user:password@host:5432/database');
  if (path.includes('/')) throw unreadable();
  return {
    host,
    port,
    user,
    password: decoded(url.password),
    database: decoded(path),
    applicationName: params.get('application_name'),
    wantsTls: params.has('sslmode'),
  };
}

const PLACEHOLDER = 'socket.invalid';

function urlOf(written: string): URL {
  if (!/^postgres(?:ql)?:\/\//.test(written)) {
    throw refusal('the URL does not begin with postgresql://');
  }
  // libpq allows an empty host after the @, the standard of URLs does not.
  const text = written.replace(/^([a-z]+:\/\/[^/?#@]*@)(?=\/)/, `$1${PLACEHOLDER}`);
  // A password with an unescaped @, / or # moves all that follows to a wrong place, and with it parts of the password.
  const before = text.slice(text.indexOf('//') + 2, Math.max(text.indexOf('@'), 0));
  if (/[\s#]/.test(text) || /[/?]/.test(before) || text.indexOf('@') !== text.lastIndexOf('@')) throw unreadable();
  try {
    return new URL(text);
  } catch {
    // The error of the parser carries the URL.
    throw unreadable();
  }
}

function readParams(url: URL): ReadonlyMap<string, string> {
  const params = new Map<string, string>();
  for (const [name, value] of url.searchParams) {
    if (params.has(name)) throw refusal('the URL gives one parameter twice');
    if (!['host', 'port', 'application_name', 'sslmode'].includes(name)) throw unknownParam(name);
    params.set(name, value);
  }
  const host = params.get('host');
  if (host !== undefined && !host.startsWith('/')) {
    throw refusal('the parameter host of the URL is for the folder of a Unix socket; write a host behind the @');
  }
  const mode = params.get('sslmode');
  if (mode !== undefined && !STRICT_MODES.includes(mode)) {
    throw refusal(
      LOOSE_MODES.includes(mode)
        ? `the URL asks for sslmode=${mode}, which does not verify the server: leave it out; the certificate and its name are always verified (postgres.tls, postgres.ca_file)`
        : `the URL has an unknown sslmode; leave it out or write one of ${STRICT_MODES.join(', ')}`,
    );
  }
  return params;
}

/** Names the parameter only if it is a known one: what stands there may be a part of a password. */
function unknownParam(name: string): Fault {
  const hint = Object.hasOwn(ELSEWHERE, name) ? ELSEWHERE[name] : undefined;
  return hint === undefined
    ? refusal(
        'the URL has a parameter that is not known; known are host (of a socket), port, application_name, sslmode',
      )
    : refusal(`the URL has the parameter ${name}: ${hint}`);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw unreadable();
  }
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

function unreadable(): Fault {
  return refusal(
    'the URL cannot be read: write postgresql://user:password@host:5432/database, and in the password %40 for @, %2F for /, %3A for :, %3F for ?, %23 for # and %25 for %',
  );
}

function refusal(why: string): Fault {
  return new Fault('precondition', 'STORE_UNAVAILABLE', `the PostgreSQL settings cannot be used: ${why}`);
}
