import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Fault } from '#src/domain/faults.ts';

/** `verify`: the chain up to a trusted authority, and the name. `off` is taken on loopback and Unix sockets only. */
export type TlsMode = 'verify' | 'off';

/** What the driver hands to Node. There is no form of it that does not verify. */
export interface TlsOptions {
  readonly rejectUnauthorized: true;
  readonly minVersion: 'TLSv1.2';
  /** PEM; those of the system if absent. */
  readonly ca?: string[];
}

/**
 * How TLS is spoken to `host`; false for not at all. There is no way to speak it without verifying: what the environment
 * says (NODE_TLS_REJECT_UNAUTHORIZED, PGSSLMODE) does not count. Throws Fault(precondition) with what to do when the
 * authorities cannot be read, or when a connection in the clear would leave this machine.
 */
export function tlsOptions(host: string, mode: TlsMode, caFile: string): TlsOptions | false {
  // PostgreSQL speaks no TLS over Unix sockets.
  if (host.startsWith('/')) return false;
  if (mode === 'off') {
    if (isLoopback(host)) return false;
    throw new Fault(
      'precondition',
      'STORE_UNAVAILABLE',
      `postgres.tls is off, but ${host} is not on this machine: passwords and data would travel in the clear; set postgres.tls to verify, and postgres.ca_file if its certificate is from your own authority`,
    );
  }
  const authorities = caFile === '' ? {} : { ca: readAuthorities(caFile) };
  return { rejectUnauthorized: true, minVersion: 'TLSv1.2', ...authorities };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/** Each certificate for itself, since a file with one damaged certificate would else be trusted in part or not at all. */
function readAuthorities(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw unusable(`postgres.ca_file cannot be read: ${why}`, cause);
  }
  const found = text.match(CERTIFICATE) ?? [];
  if (found.length === 0) {
    throw unusable(`postgres.ca_file ${path} has no certificate in it; it must be PEM (BEGIN CERTIFICATE)`);
  }
  for (const [index, pem] of found.entries()) {
    try {
      new X509Certificate(pem);
    } catch (cause) {
      throw unusable(`certificate ${index + 1} in postgres.ca_file ${path} is damaged`, cause);
    }
  }
  return found;
}

function unusable(message: string, cause?: unknown): Fault {
  return new Fault('precondition', 'STORE_UNAVAILABLE', message, { cause });
}
