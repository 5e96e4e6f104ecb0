import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { Client, type ClientConfig } from 'pg';
import { describe, expect, it } from 'vitest';
import { onFreePort, PortTaken } from '../../scripts/servers/free-port.ts';
import { startPgbouncer } from '../../scripts/servers/pgbouncer.ts';
import { startPostgres } from '../../scripts/servers/postgres.ts';

const limits = (ms: number): ClientConfig => ({ query_timeout: ms, connectionTimeoutMillis: ms });

async function ask(url: string, text = 'SELECT current_user AS who', more: ClientConfig = {}): Promise<unknown> {
  const client = new Client({ connectionString: url, ...limits(20_000), ...more });
  client.on('error', () => {});
  try {
    await client.connect();
    return (await client.query(text)).rows[0];
  } finally {
    await client.end().catch(() => {});
  }
}

describe('a PostgreSQL server', () => {
  it('syncs to disk and lets nobody in without the password', async () => {
    await using postgres = await startPostgres();
    await postgres.createRole('app');
    const url = await postgres.createDatabase('sallyport', 'app');
    expect(await ask(url)).toEqual({ who: 'app' });
    expect(await ask(url, 'SHOW fsync')).toEqual({ fsync: 'on' });
    await expect(ask(url.replace(/:[^:@]+@/, ':wrong@'))).rejects.toThrow('password authentication failed');
    const socket = { host: postgres.socketDirectory, port: postgres.port, user: 'app', database: 'sallyport' };
    await expect(ask('', 'SELECT 1', { ...socket, password: 'wrong' })).rejects.toThrow('password');
  });

  it('answers nothing while it is frozen, old connections and new', async () => {
    await using postgres = await startPostgres();
    const client = new Client({ connectionString: postgres.url(), query_timeout: 300 });
    await client.connect();
    await postgres.freeze();
    await expect(client.query('SELECT 1')).rejects.toThrow('timeout');
    await expect(ask(postgres.url(), undefined, limits(400))).rejects.toThrow('timeout');
    await postgres.thaw();
    expect(await ask(postgres.url())).toEqual({ who: 'postgres' });
    await client.end();
  });

  it('has what was committed, and only that, after it was killed', async () => {
    await using postgres = await startPostgres();
    await postgres.query('CREATE TABLE kept (id integer)');
    await postgres.query('INSERT INTO kept VALUES (1)');
    const open = new Client({ connectionString: postgres.url() });
    open.on('error', () => {});
    await open.connect();
    await open.query('BEGIN; INSERT INTO kept VALUES (2)');
    await postgres.freeze();
    await postgres.kill();
    expect(postgres.running).toBe(false);
    await expect(ask(postgres.url())).rejects.toThrow('ECONNREFUSED');
    await postgres.restart();
    expect(await ask(postgres.url(), 'SELECT array_agg(id) AS ids FROM kept')).toEqual({ ids: [1] });
  });

  it('speaks only TLS when it has certificates, under the right name or the wrong', async () => {
    await using right = await startPostgres({ tls: true });
    const trust = (file: string | undefined) => ({ ssl: { ca: readFileSync(file ?? '', 'utf8') } });
    expect(await ask(right.url(), undefined, trust(right.certificates?.caFile))).toEqual({ who: 'postgres' });
    await expect(ask(right.url(), undefined, trust(right.certificates?.otherCaFile))).rejects.toThrow('certificate');
    await expect(ask(right.url())).rejects.toThrow('no encryption');
    await using wrong = await startPostgres({ tls: { certificate: 'wrongName' } });
    await expect(ask(wrong.url(), undefined, trust(wrong.certificates?.caFile))).rejects.toThrow('altnames');
  });

  it('keeps its data in a folder that is given, and its superuser', async () => {
    await using first = await startPostgres();
    const directory = `${first.socketDirectory}/kept`;
    const made = await startPostgres({ directory });
    const url = await made.createDatabase('sallyport');
    await made.stop();
    await using again = await startPostgres({ directory, port: made.port });
    expect(again.url('sallyport')).toBe(url);
    expect(await ask(url)).toEqual({ who: 'postgres' });
  });

  it('says so when its port is taken', async () => {
    const other = createServer();
    const port = await onFreePort(
      (free) => new Promise<number>((resolve) => other.listen(free, '127.0.0.1', () => resolve(free))),
    );
    await expect(startPostgres({ port })).rejects.toThrow(PortTaken);
    other.close();
  });
});

describe('the pooler', () => {
  it('gives a connection for one transaction, so that what a session sets is gone', async () => {
    await using postgres = await startPostgres();
    await postgres.createRole('app');
    await postgres.createDatabase('sallyport', 'app');
    await using pooler = await startPgbouncer({ postgres, poolSize: 1 });
    const url = pooler.url('sallyport', 'app');
    const [first, second] = [new Client({ connectionString: url }), new Client({ connectionString: url })];
    await Promise.all([first.connect(), second.connect()]);
    const backend = async (client: Client) => (await client.query('SELECT pg_backend_pid() AS pid')).rows[0];
    expect(await backend(first)).toEqual(await backend(second));
    await first.query('BEGIN');
    const waiting = backend(second);
    expect(await Promise.race([waiting, new Promise((done) => setTimeout(() => done('waits'), 100))])).toBe('waits');
    await first.query('COMMIT');
    expect(await waiting).toEqual(await backend(first));
    await Promise.all([first.end(), second.end()]);
    await pooler.kill();
    await expect(ask(url)).rejects.toThrow('ECONNREFUSED');
    await pooler.restart();
    expect(await ask(url)).toEqual({ who: 'app' });
  });
});
