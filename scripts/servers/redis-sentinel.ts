import { type RedisOptions, type RedisServer, startRedis } from './redis.ts';
import { until } from './server-process.ts';

export const MASTER_NAME = 'mymaster';

export interface SentinelOptions {
  /** A master that was silent for so long is down. */
  readonly downAfterMs?: number;
  /** For the master and its replica alike; the password is that of the Sentinels too. */
  readonly redis?: Pick<RedisOptions, 'settings' | 'password'>;
}

/** A master, its replica and three Sentinels that watch them. */
export class RedisSentinel {
  /** The two servers, in the order they were started; who is master changes. */
  readonly nodes: readonly [RedisServer, RedisServer];
  readonly sentinels: readonly RedisServer[];

  private constructor(nodes: readonly [RedisServer, RedisServer], sentinels: readonly RedisServer[]) {
    this.nodes = nodes;
    this.sentinels = sentinels;
  }

  static async start({ downAfterMs = 500, redis = {} }: SentinelOptions = {}): Promise<RedisSentinel> {
    const stack = new AsyncDisposableStack();
    try {
      // By way of a file: after a direct copy the replica is sent nothing until its first acknowledgement, a second later.
      const settings = { 'repl-diskless-sync': 'no', 'repl-ping-replica-period': '1', ...redis.settings };
      const master = stack.use(await startRedis({ ...redis, settings }));
      const replica = stack.use(
        await startRedis({ ...redis, settings: { ...settings, replicaof: `127.0.0.1 ${master.port}` } }),
      );
      await until('replication', async () =>
        (await master.cli('INFO', 'replication')).includes('state=online') ? true : undefined,
      );
      const watched = `127.0.0.1 ${master.port}`;
      const sentinels = await Promise.all(
        [1, 2, 3].map(async () => stack.use(await startSentinelServer(watched, downAfterMs, redis.password))),
      );
      const all = new RedisSentinel([master, replica], sentinels);
      await all.#settled();
      stack.move();
      return all;
    } finally {
      await stack.disposeAsync();
    }
  }

  /** Where the Sentinels are, as `host:port`. */
  get addresses(): readonly string[] {
    return this.sentinels.map(({ address }) => address);
  }

  /** The master of which most Sentinels speak, undefined while they disagree. */
  async findMaster(): Promise<RedisServer | undefined> {
    const answers = await Promise.all(
      this.sentinels.map((sentinel) =>
        sentinel.cli('SENTINEL', 'get-master-addr-by-name', MASTER_NAME).catch(() => ''),
      ),
    );
    return this.nodes.find(
      ({ port }) =>
        answers.filter((answer) => answer.split('\n')[1] === String(port)).length > this.sentinels.length / 2,
    );
  }

  async master(): Promise<RedisServer> {
    return until('a master', () => this.findMaster());
  }

  async replica(): Promise<RedisServer> {
    const master = await this.master();
    return this.nodes[0] === master ? this.nodes[1] : this.nodes[0];
  }

  /** Resolves with the new master when another node than this is one in its own eyes and in those of the Sentinels. */
  async failedOverFrom(old: RedisServer): Promise<RedisServer> {
    const failedOver = async () => {
      const master = await this.findMaster();
      if (master === undefined || master === old) return undefined;
      return (await master.cli('ROLE')).startsWith('master') ? master : undefined;
    };
    try {
      return await until('a failover', failedOver, { limitMs: 30_000, stepMs: 50 });
    } catch (error) {
      const said = this.sentinels.map(({ log }) => log.split('\n').slice(-20).join('\n'));
      throw new Error(`the Sentinels did not fail over:\n${said.join('\n\n')}`, { cause: error });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of [...this.sentinels, ...this.nodes]) await server[Symbol.asyncDispose]();
  }

  /** Before that a vote would find no majority. */
  async #settled(): Promise<void> {
    for (const sentinel of this.sentinels)
      await until('the Sentinels', async () => {
        const lines = (await sentinel.cli('SENTINEL', 'master', MASTER_NAME)).split('\n');
        const value = (name: string) => lines[lines.indexOf(name) + 1];
        return value('num-other-sentinels') === '2' && value('num-slaves') === '1' ? true : undefined;
      });
  }
}

async function startSentinelServer(
  watched: string,
  downAfterMs: number,
  password: string | undefined,
): Promise<RedisServer> {
  const access = password === undefined ? [] : [`sentinel auth-pass ${MASTER_NAME} "${password}"`];
  const sentinel = await startRedis({
    ...(password === undefined ? {} : { password }),
    sentinel: [
      `sentinel monitor ${MASTER_NAME} ${watched} 2`,
      `sentinel down-after-milliseconds ${MASTER_NAME} ${downAfterMs}`,
      `sentinel failover-timeout ${MASTER_NAME} 1500`,
      `sentinel parallel-syncs ${MASTER_NAME} 1`,
      ...access,
    ],
  });
  // They greet one another every two seconds, which makes the start slow, and do nothing for half a minute after they
  // were held up themselves. An election without a majority is held again after twice the failover time-out.
  await sentinel.cli('SENTINEL', 'DEBUG', 'publish-period', '100', 'info-period', '200', 'tilt-period', '1000');
  return sentinel;
}

/** Redis with failover. */
export function startSentinel(options: SentinelOptions = {}): Promise<RedisSentinel> {
  return RedisSentinel.start(options);
}
