/** What the settings have to know of a PostgreSQL URL; everything else is for whoever connects. */
export interface PostgresPlace {
  /** Without brackets; the folder of a Unix socket begins with a slash. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly hasPassword: boolean;
}

const FORM = 'postgresql://user:password@host:5432/database';
const UNREADABLE = `cannot be read: write ${FORM}, and in the password %40 for @, %2F for /, %3A for :, %3F for ?, %23 for # and %25 for %`;
/** Stands for the host that libpq lets be left out where a socket is named, and the standard of URLs does not. */
const NO_HOST = 'socket.invalid';

/**
 * Reads a URL, or says what is wrong with it. What it says never repeats any of the URL: where one cannot be read, a part of
 * the password can be anywhere.
 */
export function readPostgresUrl(written: string): PostgresPlace | string {
  const trimmed = written.trim();
  if (!/^postgres(?:ql)?:\/\//.test(trimmed)) return `must begin with postgresql://: write ${FORM}`;
  const text = trimmed.replace(/^([a-z]+:\/\/[^/?#@]*@)(?=\/)/, `$1${NO_HOST}`);
  const at = text.indexOf('@');
  const credentials = text.slice(text.indexOf('//') + 2, Math.max(at, 0));
  if (/[\s#]/.test(text) || /[/?]/.test(credentials) || at !== text.lastIndexOf('@')) return UNREADABLE;
  try {
    return placeOf(new URL(text));
  } catch {
    return UNREADABLE;
  }
}

function placeOf(url: URL): PostgresPlace | string {
  const socket = url.searchParams.get('host');
  if (socket !== null && !socket.startsWith('/'))
    return 'has a parameter host that is no folder of a Unix socket; write a host behind the @';
  const named = decodeURIComponent(url.hostname).replace(/^\[|\]$/g, '');
  const host = socket ?? (named === NO_HOST ? '' : named);
  if (host === '') return `names no host: write ${FORM}`;
  if (host.includes(',')) return 'names more than one host; give the endpoint of the writer alone';
  const user = decodeURIComponent(url.username);
  if (user === '') return `names no user: write ${FORM}`;
  const database = decodeURIComponent(url.pathname.slice(1));
  if (database === '') return `names no database: write ${FORM}`;
  if (url.pathname.slice(1).includes('/')) return UNREADABLE;
  const port = Number(url.searchParams.get('port') ?? (url.port || 5432));
  if (!Number.isInteger(port) || port < 1 || port > 65_535) return 'has a port that is no port';
  return { host, port, database, user, hasPassword: decodeURIComponent(url.password) !== '' };
}

/** Whether both lead to the same data. */
export function isSameDatabase(a: PostgresPlace, b: PostgresPlace): boolean {
  return a.host.toLowerCase() === b.host.toLowerCase() && a.port === b.port && a.database === b.database;
}

/** Whether what is sent stays on a Unix socket. */
export function isSocket({ host }: PostgresPlace): boolean {
  return host.startsWith('/');
}
