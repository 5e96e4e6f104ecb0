import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from './binaries.ts';

/** Paths of one certificate and its key, both PEM. */
export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface Certificates {
  /** The authority that signed the three below. */
  readonly caFile: string;
  /** An authority that signed none of them. */
  readonly otherCaFile: string;
  /** For 127.0.0.1, ::1 and localhost. */
  readonly server: Certificate;
  /** Of the same authority, for another name only. */
  readonly wrongName: Certificate;
  readonly client: Certificate;
}

const DAYS = '2';
const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** Makes a small authority and what it signs, with OpenSSL, valid for two days. The folder has to exist. */
export function makeCertificates(directory: string): Certificates {
  const openssl = findProgram('openssl');
  const at = (name: string) => join(directory, name);
  const run = (...args: readonly string[]) =>
    execFileSync(openssl, [...args], { stdio: ['ignore', 'ignore', 'pipe'], timeout: 20_000 });

  const authority = (name: string): Certificate => {
    const made = { certFile: at(`${name}.crt`), keyFile: at(`${name}.key`) };
    const extensions = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign'];
    const subject = ['-subj', `/CN=Sallyport ${name}`];
    run(
      'req',
      '-x509',
      ...KEY,
      '-days',
      DAYS,
      ...subject,
      ...extensions,
      '-keyout',
      made.keyFile,
      '-out',
      made.certFile,
    );
    return made;
  };
  const ca = authority('ca');
  const other = authority('other-ca');

  const signed = (name: string, extensions: readonly string[]): Certificate => {
    const made = { certFile: at(`${name}.crt`), keyFile: at(`${name}.key`) };
    const request = at(`${name}.csr`);
    const extensionFile = at(`${name}.ext`);
    writeFileSync(extensionFile, `${['basicConstraints=critical,CA:FALSE', ...extensions].join('\n')}\n`);
    run('req', '-new', ...KEY, '-subj', `/CN=sallyport-${name}`, '-keyout', made.keyFile, '-out', request);
    const signer = ['-CA', ca.certFile, '-CAkey', ca.keyFile, '-CAcreateserial'];
    run('x509', '-req', '-in', request, ...signer, '-days', DAYS, '-extfile', extensionFile, '-out', made.certFile);
    return made;
  };
  return {
    caFile: ca.certFile,
    otherCaFile: other.certFile,
    server: signed('server', [
      'extendedKeyUsage=serverAuth',
      'subjectAltName=IP:127.0.0.1,IP:0:0:0:0:0:0:0:1,DNS:localhost',
    ]),
    wrongName: signed('wrong-name', ['extendedKeyUsage=serverAuth', 'subjectAltName=DNS:elsewhere.example']),
    client: signed('client', ['extendedKeyUsage=clientAuth']),
  };
}
