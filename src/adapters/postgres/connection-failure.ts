import { Fault } from '#src/domain/faults.ts';
import type { ConnectionSettings } from './connection-settings.ts';

type Place = Pick<ConnectionSettings, 'place' | 'user' | 'database'>;

/** What is wrong, and what to do; `again` when trying later may help without anybody changing anything. */
interface Explanation {
  readonly says: string;
  readonly again?: boolean;
}

type Explain = (at: Place, error: Error) => Explanation;

const untrusted: Explain = ({ place }) => ({
  says: `the certificate of ${place} is not signed by an authority that is trusted here: name the file of its authority in postgres.ca_file`,
});
const away: Explain = ({ place }, error) => ({
  says: `there is no PostgreSQL at ${place} (${codeOf(error)}): check host and port, and that the server runs and can be reached from here`,
  again: true,
});
const silent: Explain = ({ place }) => ({
  says: `${place} does not answer in time: check that the server runs, and that no firewall swallows the connection`,
  again: true,
});
const busy: Explain = ({ place }, error) => ({
  says: `${place} takes no connection now (${error.message}): try again in a moment`,
  again: true,
});
const noName: Explain = ({ place }) => ({
  says: `the host of ${place} is not known to the name service: check its spelling`,
  again: true,
});
const letsNobodyIn: Explain = ({ place, user }, error) => ({
  says: `${place} does not let the role ${user} in (${error.message}): create the role with LOGIN, and allow it in pg_hba.conf`,
});

const wrongPassword: Explain = ({ place, user }) => ({
  says: `${place} refuses the password of the role ${user}: correct it in the URL, where @ : / ? # and % are written as %40 and so on`,
});

/** By SQLSTATE, by the codes of Node for sockets and TLS. */
const BY_CODE: Readonly<Record<string, Explain>> = {
  '28P01': wrongPassword,
  '28000': letsNobodyIn,
  '3D000': ({ place, user, database }) => ({
    says: `there is no database ${database} at ${place}: make it with CREATE DATABASE ${database} OWNER ${user} TEMPLATE template0 ENCODING 'UTF8', or correct the URL`,
  }),
  '42501': ({ place, user }, error) => ({
    says: `the role ${user} may not do this at ${place} (${error.message}): run migrations as the owner of the database, and give the role of the sidecars its rights with sallyport migrate --grant-to ${user}`,
  }),
  '53300': busy,
  '57P03': busy,
  '57P01': busy,
  '57P02': busy,
  // How a pooler says that it has no server to give.
  '08006': busy,
  // How a pooler refuses somebody.
  '08P01': (at, error) =>
    /authentication failed/.test(error.message)
      ? wrongPassword(at, error)
      : {
          says: `${at.place} refuses the connection (${error.message}): check the database, the role and the settings of the pooler`,
        },
  ERR_TLS_CERT_ALTNAME_INVALID: ({ place }, error) => ({
    says: `the certificate of ${place} is for another name (${namesIn(error)}): write the name it is for in the URL, or give the server a certificate for this one`,
  }),
  CERT_HAS_EXPIRED: ({ place }) => ({ says: `the certificate of ${place} has expired: renew it on the server` }),
  CERT_NOT_YET_VALID: ({ place }) => ({
    says: `the certificate of ${place} is not valid yet: check the clocks of both machines`,
  }),
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted,
  UNABLE_TO_GET_ISSUER_CERT: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  CERT_SIGNATURE_FAILURE: untrusted,
  ENOTFOUND: noName,
  EAI_AGAIN: noName,
  ECONNREFUSED: away,
  EHOSTUNREACH: away,
  ENETUNREACH: away,
  ENOENT: away,
  EACCES: away,
  ECONNRESET: silent,
  ETIMEDOUT: silent,
};

/** What the driver says in words alone. */
const BY_WORDS: readonly (readonly [RegExp, Explain])[] = [
  [
    /does not support SSL/,
    ({ place }) => ({
      says: `${place} speaks no TLS: switch it on there (ssl = on in postgresql.conf, client_tls_sslmode in pgbouncer); in the clear it is taken on loopback only, with postgres.tls: off`,
    }),
  ],
  [
    /password must be a (?:non-empty )?string/i,
    ({ place, user }) => ({
      says: `${place} asks for the password of the role ${user}, and the URL has none: write postgresql://${user}:password@…`,
    }),
  ],
  [/timeout expired|Query read timeout|Connection terminated/, silent],
];

/**
 * A connection that was not made, or a statement that was refused, as one sentence that says what to do next, without the
 * password: Fault(unavailable) when trying again may help, otherwise Fault(precondition). The error of the driver may be
 * the cause of others. What cannot be explained comes back as it is.
 */
export function explained(error: unknown, at: Place): unknown {
  if (error instanceof Fault && error.kind === 'precondition') return error;
  for (const cause of chainOf(error)) {
    const explain = BY_CODE[codeOf(cause)] ?? BY_WORDS.find(([pattern]) => pattern.test(cause.message))?.[1];
    if (!explain) continue;
    const { says, again = false } = explain(at, cause);
    return new Fault(again ? 'unavailable' : 'precondition', 'STORE_UNAVAILABLE', says, { cause: error });
  }
  return error;
}

const LONGEST_CHAIN = 8;

/** From the first cause to the error itself. */
function chainOf(error: unknown): readonly Error[] {
  const chain: Error[] = [];
  // Where a name has several addresses, all were tried.
  for (let next = error; next instanceof Error && chain.length < LONGEST_CHAIN; ) {
    chain.unshift(next);
    next = next instanceof AggregateError ? next.errors[0] : next.cause;
  }
  return chain;
}

/** SQLSTATE or the code of Node; '' for neither. */
export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

function namesIn(error: Error): string {
  const cert = 'cert' in error ? (error.cert as { subjectaltname?: unknown } | undefined) : undefined;
  return typeof cert?.subjectaltname === 'string' ? cert.subjectaltname : 'none is written in it';
}
