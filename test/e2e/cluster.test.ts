import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { aliveOf, treeOf } from '../../scripts/servers/process-tree.ts';
import { eventually } from '../support/eventually.ts';
import { GrpcClient } from '../support/grpc-client.ts';
import { insist } from '../support/insist.ts';
import { signIn } from '../support/people.ts';
import { freeOffset, RunningCluster } from '../support/running-cluster.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-cluster-test-'));
  // PostgreSQL may have to be another user, who has to get through.
  chmodSync(folder, 0o755);
});
const clients: GrpcClient[] = [];
afterAll(() => {
  for (const client of clients) client.close();
  rmSync(folder, { recursive: true, force: true });
});

const own = (name: string) => join(folder, name);
/** The time-outs are those of production, and the machine is that of the test. */
const validated = (client: GrpcClient, token: string) =>
  insist(() => client.unary(SessionService.method.validateSession, { token }));
function clientOf(cluster: RunningCluster): GrpcClient {
  // One cluster after the other has the same ports, but not the same connections.
  const options = { 'grpc.use_local_subchannel_pool': 1 };
  const client = new GrpcClient(`127.0.0.1:${50_051 + cluster.portOffset}`, { 'x-sallyport-client': 'test' }, options);
  clients.push(client);
  return client;
}

describe('the local cluster', () => {
  it('keeps its data from run to run, its secrets to itself, and forgets with --fresh', async () => {
    const home = own('kept');
    const small = ['--redis', 'off', '--sidecars', '1'];
    const first = await RunningCluster.start(home, small);
    const { token } = await insist(() => signIn(clientOf(first), 'ada'));
    for (const name of ['keys.json', 'operator.token', 'postgres.url', 'postgres-audit.url', 'owner.url'])
      expect(statSync(join(home, 'sallyport-cluster', name)).mode & 0o077).toBe(0);
    await first.stop();

    const second = await RunningCluster.start(home, small);
    await expect(validated(clientOf(second), token)).resolves.toBeDefined();
    await second.stop();

    await using third = await RunningCluster.start(home, [...small, '--fresh']);
    await expect(validated(clientOf(third), token)).rejects.toThrow('UNAUTHENTICATED');
  });

  it('leaves nothing running when it is killed', async () => {
    await using cluster = await RunningCluster.start(own('killed'), ['--redis', 'sentinel', '--sidecars', '2']);
    const tree = treeOf(cluster.pid);
    expect(tree.length).toBeGreaterThan(15);
    await cluster.kill();
    await eventually('the end of all processes', () => aliveOf(tree).length === 0, 10_000);
  });

  it('says in one sentence which port is taken, and how to go on', async () => {
    const offset = await freeOffset();
    const port = 50_061 + offset;
    const stranger = createServer();
    await new Promise<void>((resolve) => stranger.listen(port, '127.0.0.1', resolve));
    await using cluster = await RunningCluster.launch(own('taken'), offset);
    const { code, said } = await cluster.ended();
    stranger.close();
    expect(code).toBe(69);
    expect(said).toContain(
      `sallyport: port ${port} (grpc of sidecar B) is taken. End what listens there, or use others: npm run cluster -- --port-offset ${offset + 1_000}\n`,
    );
    expect(existsSync(own('taken')) ? readdirSync(own('taken')) : []).toEqual([]);
  });

  it('does not share the folder of another cluster', async () => {
    await using running = await RunningCluster.start(own('shared'), ['--redis', 'off', '--sidecars', '1']);
    const second = await RunningCluster.launch(own('shared'), running.portOffset + 50, ['--redis', 'off']);
    const { code, said } = await second.ended();
    expect(code).toBe(69);
    expect(said).toMatch(/sallyport: another cluster runs on \S+sallyport-cluster\. Stop it, or give this one its own/);
    await expect(insist(() => signIn(clientOf(running), 'ada'))).resolves.toBeDefined();
    const settings = readFileSync(join(own('shared'), 'sallyport-cluster/sidecar-a/sallyport.yaml'), 'utf8');
    expect(settings).toContain(`127.0.0.1:${50_051 + running.portOffset}`);
  });

  it.each([
    [['--redis', 'valkey'], '--redis takes one of single, sentinel, cluster, off, not valkey'],
    [['--sidecars', '10'], '--sidecars takes a number from 1 to 9, not 10'],
    [['--colour'], "Unknown option '--colour'"],
  ])('refuses %j', async (options, sentence) => {
    const cluster = await RunningCluster.launch(own('refused'), 0, options);
    const { code, said } = await cluster.ended();
    expect([code, said.split('\n').length]).toEqual([2, 2]);
    expect(said).toContain(sentence);
  });
});
