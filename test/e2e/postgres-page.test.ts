import { execFile } from 'node:child_process';
import { chownSync, copyFileSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findPostgresProgram, findProgram, unprivileged } from '../../scripts/servers/binaries.ts';
import { freePort } from '../../scripts/servers/free-port.ts';
import { type PostgresServer, startPostgres } from '../../scripts/servers/postgres.ts';
import { SUPERUSER } from '../../scripts/servers/postgres-template.ts';
import { temporaryDirectory } from '../../scripts/servers/server-directory.ts';
import { ServerProcess, until } from '../../scripts/servers/server-process.ts';
import { projectRoot } from '../support/sidecar.ts';

const page = readFileSync(join(projectRoot, 'docs/postgres.md'), 'utf8');
const blocksOf = (language: string) =>
  [...page.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, text]) => text ?? '');

let server: PostgresServer;
let folder: string;
let ran: { readonly code: number; readonly output: string };

/** The page as somebody follows it, with the server of this run in place of db.example. */
beforeAll(async () => {
  server = await startPostgres({ tls: true });
  folder = mkdtempSync(join(tmpdir(), 'sallyport-postgres-page-'));
  for (const name of ['node_modules', 'package.json', 'bin', 'dist']) {
    symlinkSync(join(projectRoot, name), join(folder, name));
  }
  copyFileSync(server.certificates?.caFile ?? '', join(folder, 'ca.pem'));
  const script = blocksOf('sh')
    .join('\n')
    .replaceAll('db.example:5432', `127.0.0.1:${server.port}`)
    .replaceAll('PGHOST=db.example PGPORT=5432', `PGHOST=127.0.0.1 PGPORT=${server.port}`);
  ran = await bash(script);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function bash(script: string): Promise<{ readonly code: number; readonly output: string }> {
  const env = {
    ...process.env,
    PATH: [dirname(findPostgresProgram('psql')), process.env['PATH']].join(':'),
    PGPASSWORD: server.passwords.get(SUPERUSER),
  };
  return new Promise((resolve) => {
    execFile('bash', ['-euo', 'pipefail', '-c', script], { cwd: folder, env, timeout: 120_000 }, (error, out, err) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, output: `${out}${err}` });
    });
  });
}

describe('docs/postgres.md', () => {
  it('has commands that all run', () => {
    expect(ran.code, ran.output).toBe(0);
    expect(ran.output).toContain('the settings are good');
    expect(ran.output).toMatch(/audit_events_\d{4}_\d{2}/);
  });

  it.each(['sallyport', 'sallyport_restored'])(
    'leads to the schema with rights for both roles in %s',
    async (database) => {
      const [rights] = await server.query(
        `SELECT has_table_privilege('sallyport', 'sessions', 'SELECT') AS state, has_table_privilege('sallyport', 'audit_events', 'INSERT') AS forges,
              has_table_privilege('sallyport_audit', 'audit_events', 'INSERT') AS adds,
              has_table_privilege('sallyport_audit', 'sessions', 'SELECT') AS reads,
              (SELECT tableowner FROM pg_tables WHERE tablename = 'sessions') AS owner`,
        [],
        database,
      );
      expect(rights).toEqual({ state: true, forges: false, adds: true, reads: false, owner: 'sallyport_owner' });
    },
  );

  it('lets nobody connect but the roles that it names', async () => {
    const connect = await server.query(
      `SELECT rolname FROM pg_roles WHERE rolcanlogin AND NOT rolsuper AND has_database_privilege(oid, 'sallyport', 'CONNECT')
       ORDER BY rolname`,
    );
    expect(connect.map((row) => row['rolname'])).toEqual(['sallyport', 'sallyport_audit', 'sallyport_owner']);
  });

  it('writes passwords into files of their owner alone', async () => {
    const { output } = await bash('stat -c "%a %n" *.password *.url | sort');
    expect(output).toContain('600 sallyport.url');
    expect(output.split('\n').filter((line) => line !== '' && !line.startsWith('600 '))).toEqual([]);
  });

  it('has a configuration of PgBouncer that migrate works through', async () => {
    const identity = unprivileged();
    const directory = temporaryDirectory('page-pooler', identity);
    const port = await freePort();
    const certificate = server.certificates?.server;
    const ini = join(directory.path, 'pgbouncer.ini');
    const users = join(directory.path, 'userlist.txt');
    const password = readFileSync(join(folder, 'sallyport_owner.password'), 'utf8').trim();
    writeFileSync(users, `"sallyport_owner" "${password}"\n`);
    writeFileSync(
      ini,
      `${blocksOf('ini')
        .join('\n')
        .replace('host=db.example port=5432', `host=127.0.0.1 port=${server.port}`)
        .replace('listen_addr = *', 'listen_addr = 127.0.0.1')
        .replace('listen_port = 6432', `listen_port = ${port}`)
        .replace('/etc/pgbouncer/userlist.txt', users)
        .replace('/etc/pgbouncer/server.crt', certificate?.certFile ?? '')
        .replace('/etc/pgbouncer/server.key', certificate?.keyFile ?? '')
        .replace('/etc/pgbouncer/ca.pem', server.certificates?.caFile ?? '')}\nunix_socket_dir =\n`,
    );
    if (identity) for (const file of [ini, users]) chownSync(file, identity.uid, identity.gid);
    const pooler = await ServerProcess.start({
      command: findProgram('pgbouncer'),
      args: [ini],
      directory: directory.path,
      logFile: join(directory.path, 'pgbouncer.log'),
      identity,
      temporary: directory.temporary,
    });
    try {
      const script = [
        `sed 's|:${server.port}/|:${port}/|' sallyport_owner.url > pooled.url`,
        'SALLYPORT_POSTGRES_CA_FILE=ca.pem npx sallyport migrate --url-file pooled.url',
      ].join('\n');
      const output = await until(
        'migrate through the pooler',
        async () => {
          const result = await bash(script);
          if (result.code !== 0) throw new Error(result.output);
          return result.output;
        },
        { server: pooler, limitMs: 30_000, stepMs: 200 },
      );
      expect(output).toContain(`127.0.0.1:${port}/sallyport: nothing to apply`);
    } finally {
      await pooler.kill();
      rmSync(directory.path, { recursive: true, force: true });
    }
  });
});
