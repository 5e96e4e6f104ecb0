import { freePort } from './free-port.ts';
import { type RedisServer, startRedis } from './redis.ts';
import { until } from './server-process.ts';

const SLOTS = 16_384;
const MASTERS = 3;
const KEYS_AT_ONCE = '100';
const MIGRATE_LIMIT_MS = '2000';

export interface ClusterOptions {
  /** A node that was silent for so long is down. */
  readonly nodeTimeoutMs?: number;
  readonly settings?: Readonly<Record<string, string>>;
  readonly password?: string;
}

/** Three masters without replicas that share the slots. */
export class RedisCluster {
  readonly nodes: readonly RedisServer[];
  readonly #ids: ReadonlyMap<RedisServer, string>;
  /** What MIGRATE needs to get in. */
  readonly #access: readonly string[];

  private constructor(
    nodes: readonly RedisServer[],
    ids: ReadonlyMap<RedisServer, string>,
    password: string | undefined,
  ) {
    this.nodes = nodes;
    this.#ids = ids;
    this.#access = password === undefined ? [] : ['AUTH', password];
  }

  static async start(options: ClusterOptions = {}): Promise<RedisCluster> {
    const stack = new AsyncDisposableStack();
    try {
      const nodes: RedisServer[] = [];
      for (let index = 0; index < MASTERS; index++) nodes.push(stack.use(await startNode(options)));
      const ids = new Map<RedisServer, string>();
      for (const node of nodes) ids.set(node, await node.cli('CLUSTER', 'MYID'));
      const cluster = new RedisCluster(nodes, ids, options.password);
      await cluster.#join();
      stack.move();
      return cluster;
    } finally {
      await stack.disposeAsync();
    }
  }

  get addresses(): readonly string[] {
    return this.nodes.map(({ address }) => address);
  }

  async slotOf(key: string): Promise<number> {
    return Number(await this.#first().cli('CLUSTER', 'KEYSLOT', key));
  }

  /** Who serves a slot now. */
  async ownerOf(slot: number): Promise<RedisServer> {
    for (const node of this.nodes) {
      // A node knows best of itself.
      const own = (await node.cli('CLUSTER', 'NODES')).split('\n').find((line) => line.includes('myself')) ?? '';
      const ranges = own
        .split(' ')
        .slice(8)
        .filter((range) => !range.startsWith('['));
      const has = ranges.some((range) => {
        const [first = '', last = first] = range.split('-');
        return Number(first) <= slot && slot <= Number(last);
      });
      if (has) return node;
    }
    throw new Error(`nobody serves slot ${slot}`);
  }

  /**
   * Moves a slot with its keys to another node, as an operator does it.
   * @param halfway Called when the move is announced and no key has moved yet: the owner asks clients to go on (ASK).
   */
  async moveSlot(slot: number, to: RedisServer, halfway?: () => Promise<void>): Promise<void> {
    const from = await this.ownerOf(slot);
    if (from === to) return;
    const name = String(slot);
    await to.cli('CLUSTER', 'SETSLOT', name, 'IMPORTING', this.#idOf(from));
    await from.cli('CLUSTER', 'SETSLOT', name, 'MIGRATING', this.#idOf(to));
    await halfway?.();
    for (;;) {
      const keys = (await from.cli('CLUSTER', 'GETKEYSINSLOT', name, KEYS_AT_ONCE)).split('\n').filter((key) => key);
      if (keys.length === 0) break;
      const target = ['127.0.0.1', String(to.port), '', '0', MIGRATE_LIMIT_MS, 'REPLACE', ...this.#access];
      await from.cli('MIGRATE', ...target, 'KEYS', ...keys);
    }
    // The new owner first, so that at no time both say that it is the other.
    for (const node of [to, from, ...this.nodes.filter((other) => other !== to && other !== from)])
      await node.cli('CLUSTER', 'SETSLOT', name, 'NODE', this.#idOf(to));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.nodes) await node[Symbol.asyncDispose]();
  }

  async #join(): Promise<void> {
    const first = this.#first();
    for (const [index, node] of this.nodes.entries()) {
      const [from, to] = [Math.floor((index * SLOTS) / MASTERS), Math.floor(((index + 1) * SLOTS) / MASTERS) - 1];
      await node.cli('CLUSTER', 'ADDSLOTSRANGE', String(from), String(to));
      await node.cli('CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1));
    }
    const bus = await first.cli('CONFIG', 'GET', 'cluster-port');
    for (const node of this.nodes)
      if (node !== first) await node.cli('CLUSTER', 'MEET', '127.0.0.1', String(first.port), bus.split('\n')[1] ?? '');
    for (const node of this.nodes)
      await until('the Cluster', async () => {
        const [info, known] = [await node.cli('CLUSTER', 'INFO'), await node.cli('CLUSTER', 'NODES')];
        const all = known.split('\n').filter((line) => line.includes('connected') && line.includes('master'));
        return info.includes('cluster_state:ok') && all.length === MASTERS ? true : undefined;
      });
  }

  #first(): RedisServer {
    const [first] = this.nodes;
    if (first === undefined) throw new Error('a Cluster without nodes');
    return first;
  }

  #idOf(node: RedisServer): string {
    const id = this.#ids.get(node);
    if (id === undefined) throw new Error(`${node.address} is not of this Cluster`);
    return id;
  }
}

async function startNode({ nodeTimeoutMs = 1_000, settings, password }: ClusterOptions): Promise<RedisServer> {
  return startRedis({
    ...(password === undefined ? {} : { password }),
    settings: {
      'cluster-enabled': 'yes',
      'cluster-config-file': 'nodes.conf',
      'cluster-node-timeout': String(nodeTimeoutMs),
      // By default it is the port and 10,000, which nobody has looked at.
      'cluster-port': String(await freePort()),
      ...settings,
    },
  });
}

/** A Redis Cluster. */
export function startRedisCluster(options: ClusterOptions = {}): Promise<RedisCluster> {
  return RedisCluster.start(options);
}
