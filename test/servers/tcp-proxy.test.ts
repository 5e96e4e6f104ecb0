import { type AddressInfo, connect, createServer } from 'node:net';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type PostgresServer, startPostgres } from '../../scripts/servers/postgres.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { losingCommits } from '../support/tcp-proxy-commit.ts';

let postgres: PostgresServer;
beforeAll(async () => {
  postgres = await startPostgres();
  await postgres.query('CREATE TABLE seen (id integer PRIMARY KEY)');
});
afterAll(() => postgres[Symbol.asyncDispose]());

async function clientOf(proxy: TcpProxy, timeoutMs = 20_000): Promise<Client> {
  const client = new Client({ connectionString: proxy.inFrontOf(postgres.url()), query_timeout: timeoutMs });
  client.on('error', () => {});
  await client.connect();
  return client;
}

const answer = async (client: Client) => (await client.query('SELECT 1 AS one')).rows;

describe('the proxy', () => {
  it('forwards both ways, and cuts what is open', async () => {
    await using proxy = await TcpProxy.start(postgres.port);
    const client = await clientOf(proxy);
    expect(await answer(client)).toEqual([{ one: 1 }]);
    expect(proxy.open).toBe(1);
    proxy.cutAll();
    await expect(answer(client)).rejects.toThrow();
    const second = await clientOf(proxy);
    expect(await answer(second)).toEqual([{ one: 1 }]);
    await second.end();
  });

  it('refuses who comes while those who are there go on', async () => {
    await using proxy = await TcpProxy.start(postgres.port);
    const client = await clientOf(proxy);
    proxy.refuse();
    await expect(clientOf(proxy)).rejects.toThrow();
    expect(await answer(client)).toEqual([{ one: 1 }]);
    proxy.refuse(false);
    await (await clientOf(proxy)).end();
    await client.end();
  });

  it('hangs, old connections and new, and delivers afterwards', async () => {
    await using proxy = await TcpProxy.start(postgres.port);
    const client = await clientOf(proxy, 300);
    proxy.hang();
    await expect(answer(client)).rejects.toThrow('timeout');
    const late = clientOf(proxy);
    expect(await Promise.race([late, new Promise((resolve) => setTimeout(() => resolve('waits'), 200))])).toBe('waits');
    proxy.hang(false);
    const arrived = await late;
    expect(await answer(arrived)).toEqual([{ one: 1 }]);
    await arrived.end();
  });

  it('delays, and keeps the order', async () => {
    await using proxy = await TcpProxy.start(postgres.port);
    const client = await clientOf(proxy);
    proxy.delay(60);
    const began = performance.now();
    expect(await answer(client)).toEqual([{ one: 1 }]);
    expect(performance.now() - began).toBeGreaterThan(115);
    await client.end();
  });

  it('keeps the order when the delay ends while something is on its way', async () => {
    const heard: string[] = [];
    const server = createServer((socket) => {
      socket.on('data', (chunk) => heard.push(String(chunk)));
      socket.on('error', () => {});
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    await using proxy = await TcpProxy.start((server.address() as AddressInfo).port);
    const client = connect(proxy.port, '127.0.0.1');
    client.on('error', () => {});
    proxy.delay(300);
    client.write('first ');
    await vi.waitUntil(() => proxy.onTheirWay > 0 || heard.length > 0, { timeout: 10_000, interval: 5 });
    proxy.delay(0);
    client.write('second');
    await vi.waitUntil(() => heard.join('').length === 12, { timeout: 10_000 });
    expect(heard.join('')).toBe('first second');
    client.destroy();
    server.close();
  });

  it('lets a server vanish without a word', async () => {
    await using proxy = await TcpProxy.start(postgres.port);
    const client = await clientOf(proxy, 300);
    proxy.halfOpen();
    await postgres.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
    );
    const began = performance.now();
    await expect(answer(client)).rejects.toThrow('timeout');
    expect(performance.now() - began).toBeGreaterThan(250);
  });

  it('loses the reply to COMMIT after the server has committed', async () => {
    await using proxy = await TcpProxy.start(postgres.port);
    const commits = losingCommits(proxy);
    const client = await clientOf(proxy);
    await client.query('BEGIN; INSERT INTO seen VALUES (1)');
    await client.query('COMMIT');
    commits.lose(1);
    await client.query('BEGIN; INSERT INTO seen VALUES (2)');
    await expect(client.query('COMMIT')).rejects.toThrow();
    expect(commits.lost).toBe(1);
    expect(await postgres.query('SELECT id FROM seen ORDER BY id')).toEqual([{ id: 1 }, { id: 2 }]);
    const second = await clientOf(proxy);
    await second.query('BEGIN; INSERT INTO seen VALUES (3)');
    await second.query('COMMIT');
    await second.end();
  });
});
