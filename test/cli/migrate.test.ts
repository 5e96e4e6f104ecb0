import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '#src/cli/program.ts';
import { postgresMigrations } from '#src/gen/sql/migrations.js';
import { type Pgbouncer, startPgbouncer } from '../../scripts/servers/pgbouncer.ts';
import { type PostgresServer, startPostgres } from '../../scripts/servers/postgres.ts';
import { describeSchema } from '../support/postgres-schema.ts';
import { RecordingIo } from '../support/recording-io.ts';
import { took } from '../support/running-time.ts';
import { temporaryFile } from '../support/settings-file.ts';
import { projectRoot } from '../support/sidecar.ts';

const MINUTE = 60_000;
const version = postgresMigrations.length;
const counted = `${version} migrations`;
const nodeBinary = join(projectRoot, 'node_modules/node/bin/node');

let server: PostgresServer;
let pooler: Pgbouncer;
let made = 0;

beforeAll(async () => {
  server = await startPostgres();
  for (const role of ['owner', 'app', 'flush']) await server.createRole(role);
  pooler = await startPgbouncer({ postgres: server, poolSize: 2 });
});
afterAll(async () => {
  await pooler[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

async function emptyDatabase() {
  made += 1;
  const name = `db${made}`;
  return { name, url: await server.createDatabase(name, 'owner'), pooled: pooler.url(name, 'owner') };
}

const envFor = (url: string) => ({ SALLYPORT_POSTGRES_URL: url, SALLYPORT_POSTGRES_TLS: 'off' });

/** The command within this process. */
async function migrate(url: string, ...argv: readonly string[]) {
  const io = new RecordingIo(url === '' ? {} : envFor(url));
  const code = await run(['migrate', ...argv], io);
  return { code, stdout: io.stdout, stderr: io.stderr };
}

interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command as a process of its own. */
function start(url: string, ...argv: readonly string[]) {
  const child: ChildProcess = spawn(nodeBinary, [join(projectRoot, 'src/main.ts'), 'migrate', ...argv], {
    env: { PATH: process.env['PATH'] ?? '', ...envFor(url) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { stdout: '', stderr: '' };
  child.stdout?.on('data', (chunk) => (said.stdout += chunk));
  child.stderr?.on('data', (chunk) => (said.stderr += chunk));
  const finished = new Promise<Finished>((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal, ...said })),
  );
  return { child, said, finished };
}

async function holdLock(url: string) {
  const client = new Client({ connectionString: url });
  await client.connect();
  await client.query('BEGIN');
  await client.query('SELECT pg_advisory_xact_lock($1, $2)', [0x53616c6c, 1]);
  return { release: () => client.end() };
}

const objectsIn = async (database: string) =>
  (await server.query(`SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace`, [], database)).length;

const ledgerOf = (database: string) =>
  server.query<{ version: number }>('SELECT version FROM schema_migrations ORDER BY version', [], database);

describe('sallyport migrate', () => {
  it('brings an empty database to the newest schema, says so line by line, and does nothing the second time', async () => {
    const { url } = await emptyDatabase();
    const first = await migrate(url);
    expect(first).toMatchObject({ code: 0, stderr: '' });
    const applying = postgresMigrations.map((one) => `applying ${one.version} ${one.name}\n`).join('');
    const place = new URL(url).host + new URL(url).pathname;
    expect(first.stdout).toBe(`${applying}${place}: applied ${counted}, the schema is at version ${version}\n`);
    const second = await migrate(url);
    expect(second).toEqual({
      code: 0,
      stdout: `${place}: nothing to apply, the schema is at version ${version}\n`,
      stderr: '',
    });
  });

  it('makes partitions for the coming months, each time it runs', async () => {
    const { name, url } = await emptyDatabase();
    await migrate(url);
    const partitions = () =>
      server.query<{ name: string }>(
        `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'audit_events'::regclass ORDER BY 1`,
        [],
        name,
      );
    const months = (await partitions()).map((row) => row.name).filter((one) => /_\d{4}_\d{2}$/.test(one));
    expect(months).toHaveLength(4);
    await server.query(`DROP TABLE ${months[3]}`, [], name);
    await migrate(url);
    expect((await partitions()).map((row) => row.name)).toContain(months[3]);
  });

  it('says with --dry-run what it would do, and does nothing', async () => {
    const { name, url } = await emptyDatabase();
    const { code, stdout } = await migrate(url, '--dry-run', '--grant-to', 'app', '--grant-audit-to', 'flush');
    expect(code).toBe(0);
    for (const one of postgresMigrations) expect(stdout).toContain(`would apply ${one.version} ${one.name}\n`);
    expect(stdout).toContain('would grant: app reads and writes the state and reads the trail\n');
    expect(stdout).toContain('would grant: flush adds to the trail\n');
    expect(stdout).toContain(`${counted} to apply, nothing was changed\n`);
    expect(await objectsIn(name)).toBe(0);
  });

  it('shows with --status what is applied and what is missing', async () => {
    const { url } = await emptyDatabase();
    expect((await migrate(url, '--status')).stdout).toMatch(/^missing {2}1 initial$/m);
    await migrate(url);
    const { code, stdout } = await migrate(url, '--status');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^applied {2}1 initial {2}20\d\d-\d\d-\d\dT[\d:.]+Z$/m);
    expect(stdout).toContain('the schema is up to date\n');
  });

  it('gives roles their rights in the same run', async () => {
    const { name, url } = await emptyDatabase();
    const { code, stdout } = await migrate(url, '--grant-to', 'app', '--grant-audit-to', 'flush');
    expect(code).toBe(0);
    expect(stdout).toContain('granted: app reads and writes the state and reads the trail\n');
    const rights = await server.query(
      `SELECT has_table_privilege('app', 'sessions', 'SELECT, INSERT') AS app, has_table_privilege('flush', 'sessions', 'SELECT, INSERT') AS flush,
              has_table_privilege('flush', 'audit_events', 'INSERT') AS adds`,
      [],
      name,
    );
    expect(rights).toEqual([{ app: true, flush: false, adds: true }]);
  });

  it('changes nothing at all when a role cannot be given its rights', async () => {
    const { name, url } = await emptyDatabase();
    const { code, stderr } = await migrate(url, '--grant-to', 'nobody-here');
    expect(code).toBe(78);
    expect(stderr).toBe(
      `sallyport: there is no role nobody-here: make it first, with CREATE ROLE "nobody-here" LOGIN PASSWORD '…'\n`,
    );
    expect(await objectsIn(name)).toBe(0);
  });

  it('reads the URL from a file, over the one of the settings', async () => {
    const { name, url } = await emptyDatabase();
    const file = temporaryFile(`${url}\n`, 'owner.url');
    const { code } = await migrate(server.url('postgres', 'app'), '--url-file', file);
    expect(code).toBe(0);
    expect(await ledgerOf(name)).toHaveLength(version);
  });

  it('works through a pooler in transaction mode', async () => {
    const { name, pooled } = await emptyDatabase();
    const { code, stderr } = await migrate(pooled, '--grant-to', 'app', '--grant-audit-to', 'flush');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(await ledgerOf(name)).toHaveLength(version);
    const direct = await emptyDatabase();
    await migrate(direct.url);
    expect(await describeSchema(server, name)).toBe(await describeSchema(server, direct.name));
  });
});

describe('many at once', () => {
  it.each(['straight to the server', 'through a pooler with two connections'])(
    'twenty processes apply each migration once: %s',
    async (way) => {
      const { name, url, pooled } = await emptyDatabase();
      const target = way.startsWith('straight') ? url : pooled;
      const lock = await holdLock(url);
      const processes = Array.from({ length: 20 }, () => start(target, '--grant-to', 'app', '--wait', '2m'));
      // All are at the door before it opens, as far as the pooler lets them.
      await expect
        .poll(() => processes.filter(({ said }) => said.stderr.includes('another process')).length, { timeout: MINUTE })
        .toBeGreaterThanOrEqual(way.startsWith('straight') ? 20 : 2);
      await lock.release();
      const finished = await Promise.all(processes.map((one) => one.finished));
      expect(finished.map(({ code }) => code)).toEqual(Array.from({ length: 20 }, () => 0));
      const applied = finished.filter(({ stdout }) => stdout.includes(`applied ${counted}`));
      expect(applied).toHaveLength(1);
      expect(finished.filter(({ stdout }) => stdout.includes('nothing to apply'))).toHaveLength(19);
      expect((await ledgerOf(name)).map((row) => row.version)).toEqual(postgresMigrations.map((one) => one.version));
    },
    3 * MINUTE,
  );

  it(
    'says that it waits, and gives up in time with code 69',
    async () => {
      const { url } = await emptyDatabase();
      const lock = await holdLock(url);
      const { code, stdout, stderr } = await migrate(url, '--wait', '6s').finally(lock.release);
      expect(code).toBe(69);
      expect(stdout).toBe('');
      // Once a second, unless the machine is held up.
      expect(stderr).toMatch(
        /^(?:another process is migrating; waiting since [1-5] s\n)+sallyport: another process has been .* for \d+ s: /,
      );
    },
    MINUTE,
  );
});

describe('a process that is killed', () => {
  it(
    'while it waits leaves nothing, and keeps nobody waiting',
    async () => {
      const { name, url } = await emptyDatabase();
      const lock = await holdLock(url);
      const one = start(url);
      await expect.poll(() => one.said.stderr, { timeout: MINUTE }).toContain('another process is migrating');
      one.child.kill('SIGKILL');
      expect((await one.finished).signal).toBe('SIGKILL');
      await lock.release();
      const { code, stdout } = await migrate(url, '--wait', '20s');
      expect(code).toBe(0);
      expect(stdout).toContain(`applied ${counted}`);
      expect(await ledgerOf(name)).toHaveLength(version);
    },
    MINUTE,
  );

  it(
    'in the middle of its migrations leaves nothing, and the next one does it all',
    async () => {
      const { name, url } = await emptyDatabase();
      // Somebody makes a table of the last migration and does not commit: the run stops right there.
      const blocker = new Client({ connectionString: server.url(name) });
      await blocker.connect();
      await blocker.query('BEGIN; CREATE TABLE push_keys (id TEXT)');
      const one = start(url);
      await expect.poll(() => one.said.stdout, { timeout: MINUTE }).toContain(`applying ${version} `);
      const waiting = () =>
        server.query(
          `SELECT 1 FROM pg_stat_activity WHERE application_name = 'sallyport migrate' AND wait_event_type = 'Lock'`,
        );
      await expect.poll(async () => (await waiting()).length, { timeout: MINUTE }).toBe(1);
      one.child.kill('SIGKILL');
      await one.finished;
      await blocker.query('ROLLBACK');
      await blocker.end();
      await expect.poll(() => objectsIn(name), { timeout: MINUTE }).toBe(0);
      expect((await migrate(url)).stdout).toContain(`applied ${counted}`);
    },
    MINUTE,
  );
});

describe('what can go wrong', () => {
  const cases: readonly (readonly [string, (url: string) => string, number, RegExp])[] = [
    [
      'a wrong password',
      (url) => url.replace(/:[^:@]+@/, ':hunter2@'),
      78,
      /refuses the password of the role owner: correct it in the URL/,
    ],
    ['an unknown role', (url) => url.replace('owner:', 'stranger:'), 78, /refuses the password of the role stranger/],
    [
      'no password',
      (url) => url.replace(/:[^:@]+@/, '@'),
      78,
      /asks for the password of the role owner, and the URL has none/,
    ],
    [
      'no such database',
      (url) => url.replace(/\/db\d+$/, '/nowhere'),
      78,
      /there is no database nowhere .* CREATE DATABASE nowhere OWNER owner/,
    ],
    [
      'no server',
      (url) => url.replace(/:\d+\/db/, ':1/db'),
      69,
      /there is no PostgreSQL at 127\.0\.0\.1:1\/db\d+ \(ECONNREFUSED\): check host and port/,
    ],
    [
      'an unknown host',
      (url) => url.replace('127.0.0.1', 'localhost.invalid'),
      78,
      /postgres\.tls is off, but .* would travel in the clear/,
    ],
    ['a URL that is none', () => 'hunter2', 78, /postgres\.url must begin with postgresql:\/\//],
    [
      'TLS that would not be verified',
      (url) => `${url}?sslmode=no-verify`,
      78,
      /sslmode=no-verify, which does not verify the server/,
    ],
  ];

  it.each(cases)('is told in one sentence, without a stack: %s', async (_what, change, expected, why) => {
    const { url } = await emptyDatabase();
    const { code, stdout, stderr } = await migrate(change(url));
    expect({ code, stdout }).toEqual({ code: expected, stdout: '' });
    expect(stderr).toMatch(why);
    // Settings are told with the place where they are set, on a line of its own.
    expect(stderr).toMatch(/^sallyport: (?:1 problem in the settings\n {2})?[^\n]+\n$/);
    expect(stderr).not.toMatch(/hunter2| {4}at /);
  });

  it('is told through a pooler as well', async () => {
    const { pooled } = await emptyDatabase();
    const wrong = await migrate(pooled.replace(/:[^:@]+@/, ':hunter2@'), '--status');
    expect(wrong).toMatchObject({
      code: 78,
      stderr: expect.stringContaining('refuses the password of the role owner'),
    });
    const nowhere = await migrate(pooled.replace(/\/db\d+$/, '/nowhere'), '--status');
    expect(nowhere).toMatchObject({ code: 78, stderr: expect.stringContaining('nowhere') });
    expect(nowhere.stderr).toMatch(/^sallyport: [^\n]+\n$/);
  });

  it('ends with 78 when no PostgreSQL is named, and with 66 when the file of the URL is not there', async () => {
    expect(await migrate('')).toMatchObject({ code: 78, stderr: expect.stringContaining('no PostgreSQL is named') });
    const missing = await migrate('', '--url-file', '/nonexistent.url');
    expect(missing).toMatchObject({
      code: 66,
      stderr: expect.stringContaining('/nonexistent.url cannot be read (ENOENT)'),
    });
  });

  it('ends with 2 for a wrong command line', async () => {
    expect(await migrate('', '--wait', '5')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('Needs a duration'),
    });
    expect(await migrate('', '--stauts')).toMatchObject({ code: 2, stderr: expect.stringContaining('--status') });
  });

  it(
    'is a server that does not answer, and takes no longer than it may',
    async () => {
      await using frozen = await startPostgres();
      await frozen.createRole('owner');
      const url = await frozen.createDatabase('auth', 'owner');
      await frozen.freeze();
      const { ms } = await took(async () => {
        const { code, stderr } = await migrate(url);
        expect(code).toBe(69);
        expect(stderr).toMatch(/does not answer in time: check that the server runs/);
      });
      expect(ms).toBeLessThan(15_000);
      await frozen.thaw();
      expect((await migrate(url)).code).toBe(0);
    },
    MINUTE,
  );
});
