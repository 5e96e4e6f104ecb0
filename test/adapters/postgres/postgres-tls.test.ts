import { execFileSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { connectionSettings } from '#src/adapters/postgres/connection-settings.ts';
import { schemaStatus } from '#src/adapters/postgres/migrate-runner.ts';
import type { Certificates } from '../../../scripts/servers/certificates.ts';
import { type PostgresServer, startPostgres } from '../../../scripts/servers/postgres.ts';

let server: PostgresServer;
let certificates: Certificates;

beforeAll(async () => {
  server = await startPostgres({ tls: true });
  if (!server.certificates) throw new Error('the server has no certificates');
  certificates = server.certificates;
});
afterAll(() => server[Symbol.asyncDispose]());

/** Connects and asks. The server takes nobody who does not speak TLS. */
async function reach(url: string, caFile: string) {
  const settings = connectionSettings({ url, tls: 'verify', caFile, connectTimeoutMs: 5_000 });
  return await schemaStatus(settings, []);
}

describe('TLS to PostgreSQL', () => {
  it('is spoken with a server whose certificate and name are right, by address and by name', async () => {
    await expect(reach(server.url(), certificates.caFile)).resolves.toEqual({ applied: [], missing: [] });
    const byName = server.url().replace('127.0.0.1', 'localhost');
    await expect(reach(byName, certificates.caFile)).resolves.toEqual({ applied: [], missing: [] });
  });

  it.each([
    ['another authority signed it', () => certificates.otherCaFile],
    ['only the authorities of the system count', () => ''],
  ])('is refused when %s', async (_why, caFile) => {
    await expect(reach(server.url(), caFile())).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringMatching(
        /is not signed by an authority that is trusted here: name the file .* postgres.ca_file/,
      ),
    });
  });

  it('is refused when the environment of the process says not to verify', async () => {
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    process.env['PGSSLMODE'] = 'no-verify';
    onTestFinished(() => {
      delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      delete process.env['PGSSLMODE'];
    });
    await expect(reach(server.url(), certificates.otherCaFile)).rejects.toThrow('is not signed by an authority');
  });

  it('is refused when the certificate is for another name', async () => {
    await using other = await startPostgres({ tls: { certificate: 'wrongName' } });
    await expect(reach(other.url(), other.certificates?.caFile ?? '')).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringContaining(
        'is for another name (DNS:elsewhere.example): write the name it is for in the URL',
      ),
    });
  });

  it('is refused when the certificate has expired', async () => {
    const { certFile } = certificates.server;
    const [folder, kept] = [dirname(certFile), `${certFile}.kept`];
    copyFileSync(certFile, kept);
    // The same key and name again, for a time that is over.
    const request = join(folder, 'server.csr');
    const authority = ['-CA', certificates.caFile, '-CAkey', join(folder, 'ca.key'), '-CAcreateserial'];
    const extensions = ['-extfile', join(folder, 'server.ext')];
    const [from, to] = [kept, certFile];
    execFileSync('openssl', ['x509', '-req', '-in', request, ...authority, ...extensions, '-days', '-1', '-out', to], {
      stdio: 'ignore',
    });
    await server.query('SELECT pg_reload_conf()').catch(() => undefined);
    onTestFinished(async () => {
      copyFileSync(from, to);
      process.kill(server.pid, 'SIGHUP');
    });
    await expect
      .poll(() => reach(server.url(), certificates.caFile).catch((error: Error) => error.message), { timeout: 5_000 })
      .toMatch(/the certificate of 127\.0\.0\.1:\d+\/postgres has expired: renew it on the server/);
  });

  it('is never given up for a server that speaks none', async () => {
    await using plain = await startPostgres();
    await expect(reach(plain.url(), certificates.caFile)).rejects.toMatchObject({
      kind: 'precondition',
      message: expect.stringContaining('speaks no TLS: switch it on there'),
    });
  });
});
