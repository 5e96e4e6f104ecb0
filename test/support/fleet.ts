import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadOrCreateKeyRing } from '#src/adapters/secrets/key-ring-file.ts';
import { loadOrCreateOperatorToken } from '#src/adapters/secrets/operator-token-file.ts';
import { systemRandom } from '#src/adapters/system.ts';
import { DATABASE, makeCentralDatabase, migrate, ROLES } from '../../scripts/servers/central-database.ts';
import { freePort } from '../../scripts/servers/free-port.ts';
import { type Pgbouncer, startPgbouncer } from '../../scripts/servers/pgbouncer.ts';
import { type PostgresServer, startPostgres } from '../../scripts/servers/postgres.ts';
import { type FleetRedis, type RedisKind, startFleetRedis } from './fleet-redis.ts';
import type { GrpcClient } from './grpc-client.ts';
import { Sidecar } from './sidecar.ts';
import { TcpProxy } from './tcp-proxy.ts';

export type FleetSettings = Readonly<Record<string, string>>;

export interface FleetOptions {
  /** How many; 3 if left out. */
  readonly sidecars?: number;
  /** `single` if left out. */
  readonly redis?: RedisKind | 'none';
  /** Settings of every sidecar by their names in the environment, for instance `SALLYPORT_SESSIONS_CAP`. */
  readonly settings?: FleetSettings;
  /** Settings of one sidecar, on top; counted from 0. */
  readonly settingsOf?: (index: number) => FleetSettings;
  /** A pooler in transaction mode between the sidecars and PostgreSQL. */
  readonly pooler?: boolean;
  /** More lines of its section [pgbouncer]. */
  readonly poolerSettings?: FleetSettings;
  /** A connection of its own, with the role that may only add events, for the flush. */
  readonly auditRole?: boolean;
  /** A proxy of its own for each sidecar on its way to PostgreSQL, and to a single Redis. */
  readonly proxies?: boolean;
  readonly postgresSettings?: FleetSettings;
  readonly redisSettings?: FleetSettings;
}

/** What lies between one sidecar and its stores, when the fleet has proxies. */
export interface Paths {
  readonly postgres: TcpProxy;
  readonly redis: TcpProxy | undefined;
}

interface Stores {
  readonly postgres: PostgresServer;
  readonly pooler: Pgbouncer | undefined;
  readonly redis: FleetRedis | undefined;
}

/** A sidecar's place: what stays when the process goes and comes. */
interface Berth {
  readonly dataDir: string;
  readonly ports: Sidecar['ports'];
  readonly env: FleetSettings;
  readonly paths: Paths | undefined;
}

/**
 * PostgreSQL, Redis and built sidecars, all real, as one product: the same keys and operator token, data directories of
 * their own.
 */
export class Fleet {
  readonly postgres: PostgresServer;
  readonly pooler: Pgbouncer | undefined;
  readonly #redis: FleetRedis | undefined;
  readonly #options: FleetOptions;
  readonly #directory: string;
  readonly #operatorToken: string;
  readonly #stack: AsyncDisposableStack;
  readonly #berths: Berth[] = [];
  readonly #sidecars: Sidecar[] = [];
  /** By the process that they are connected to. */
  readonly #callers = new WeakMap<Sidecar, GrpcClient>();
  readonly #operators = new WeakMap<Sidecar, GrpcClient>();

  private constructor(
    stores: Stores,
    options: FleetOptions,
    directory: string,
    operatorToken: string,
    stack: AsyncDisposableStack,
  ) {
    this.postgres = stores.postgres;
    this.pooler = stores.pooler;
    this.#redis = stores.redis;
    this.#options = options;
    this.#directory = directory;
    this.#operatorToken = operatorToken;
    this.#stack = stack;
  }

  static async start(options: FleetOptions = {}): Promise<Fleet> {
    await using stack = new AsyncDisposableStack();
    const directory = mkdtempSync(join(tmpdir(), 'sallyport-fleet-'));
    stack.defer(() => rmSync(directory, { recursive: true, force: true }));
    const [stores, { token }] = await Promise.all([
      startStores(options, directory, stack),
      loadOrCreateOperatorToken(join(directory, 'operator.token'), systemRandom),
      loadOrCreateKeyRing(join(directory, 'keys.json'), systemRandom),
    ]);
    const fleet = new Fleet(stores, options, directory, token, stack.move());
    try {
      // One after the other, so that it is seen whose start fails.
      for (let index = 0; index < (options.sidecars ?? 3); index++) await fleet.add();
      return fleet;
    } catch (error) {
      await fleet[Symbol.asyncDispose]();
      throw error;
    }
  }

  get redis(): FleetRedis {
    if (this.#redis === undefined) throw new Error('this fleet has no Redis');
    return this.#redis;
  }

  get sidecars(): readonly Sidecar[] {
    return this.#sidecars;
  }

  /** One by its place, counted from 0. */
  sidecar(index: number): Sidecar {
    const sidecar = this.#sidecars[index];
    if (sidecar === undefined) throw new Error(`there is no sidecar ${index}`);
    return sidecar;
  }

  /** What lies between this sidecar and its stores; only with `proxies`. */
  paths(index: number): Paths {
    const paths = this.#berth(index).paths;
    if (paths === undefined) throw new Error('this fleet has no proxies');
    return paths;
  }

  /** A new application client of one sidecar, closed with it. */
  client(index: number): GrpcClient {
    return this.sidecar(index).client();
  }

  /** An application client of one sidecar, always the same: for whoever asks often, since each `client` is a connection more. */
  caller(index: number): GrpcClient {
    return kept(this.#callers, this.sidecar(index), (sidecar) => sidecar.client());
  }

  /** As `caller`, with the rights of an operator. */
  operator(index: number): GrpcClient {
    const headers = { 'x-sallyport-client': 'test', authorization: `Bearer ${this.#operatorToken}` };
    return kept(this.#operators, this.sidecar(index), (sidecar) => sidecar.client(headers));
  }

  /** One more sidecar; resolves when it is ready. */
  async add(): Promise<Sidecar> {
    const index = this.#berths.length;
    const berth = await this.#makeBerth(index);
    this.#berths.push(berth);
    const sidecar = await this.#launch(berth);
    this.#sidecars.push(sidecar);
    return sidecar;
  }

  /** SIGKILL for one sidecar; its data directory stays. */
  async kill(index: number): Promise<void> {
    await this.sidecar(index).stop('SIGKILL');
  }

  /** Stops a sidecar, if it runs, and starts it again in its place: same ports, same data directory. */
  async restart(index: number): Promise<Sidecar> {
    await this.sidecar(index).stop();
    const sidecar = await this.#launch(this.#berth(index));
    this.#sidecars[index] = sidecar;
    return sidecar;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Servers may be frozen; sidecars that wait for them would take their whole grace.
    await this.#redis?.thaw();
    await this.postgres.thaw();
    await this.pooler?.thaw();
    await Promise.all(this.#sidecars.map((sidecar) => sidecar[Symbol.asyncDispose]()));
    await this.#stack.disposeAsync();
  }

  #berth(index: number): Berth {
    const berth = this.#berths[index];
    if (berth === undefined) throw new Error(`there is no sidecar ${index}`);
    return berth;
  }

  async #makeBerth(index: number): Promise<Berth> {
    const dataDir = join(this.#directory, `sidecar-${index}`);
    mkdirSync(dataDir, { mode: 0o700 });
    // Where `Sidecar.operator` looks.
    copyFileSync(join(this.#directory, 'operator.token'), join(dataDir, 'operator.token'));
    const paths = this.#options.proxies ? await this.#makePaths() : undefined;
    const behind = (role: string) => {
      const url = (this.pooler ?? this.postgres).url(DATABASE, role);
      return paths === undefined ? url : paths.postgres.inFrontOf(url);
    };
    const env: Record<string, string> = {
      SALLYPORT_KEYS_FILE: join(this.#directory, 'keys.json'),
      SALLYPORT_OPERATOR_TOKEN_FILE: join(this.#directory, 'operator.token'),
      SALLYPORT_POSTGRES_URL: behind(ROLES.state),
      SALLYPORT_POSTGRES_TLS: 'off',
      ...this.#redis?.settings,
      ...(paths?.redis ? { SALLYPORT_REDIS_ADDRESSES: JSON.stringify([paths.redis.address]) } : {}),
      ...(this.#options.auditRole ? { SALLYPORT_POSTGRES_AUDIT_URL: behind(ROLES.audit) } : {}),
      ...this.#options.settings,
      ...this.#options.settingsOf?.(index),
    };
    const ports = { grpc: await freePort(), http: await freePort(), admin: await freePort() };
    return { dataDir, ports, env, paths };
  }

  async #makePaths(): Promise<Paths> {
    const postgres = this.#stack.use(await TcpProxy.start((this.pooler ?? this.postgres).port));
    const single = this.#redis?.kind === 'single' ? this.#redis.servers[0] : undefined;
    const redis = single && this.#stack.use(await TcpProxy.start(single.port));
    return { postgres, redis };
  }

  #launch({ dataDir, ports, env }: Berth): Promise<Sidecar> {
    return Sidecar.start({ dataDir, ports, env });
  }
}

function kept(
  clients: WeakMap<Sidecar, GrpcClient>,
  sidecar: Sidecar,
  make: (sidecar: Sidecar) => GrpcClient,
): GrpcClient {
  const client = clients.get(sidecar) ?? make(sidecar);
  clients.set(sidecar, client);
  return client;
}

async function startStores(options: FleetOptions, directory: string, stack: AsyncDisposableStack): Promise<Stores> {
  const kind = options.redis ?? 'single';
  const redis = kind === 'none' ? undefined : stack.use(await startFleetRedis(kind, options.redisSettings));
  const postgres = stack.use(await startPostgres({ settings: { ...options.postgresSettings } }));
  await makeCentralDatabase(postgres);
  await migrate({ postgres, directory });
  const { poolerSettings: settings = {} } = options;
  const pooler = options.pooler ? stack.use(await startPgbouncer({ postgres, settings })) : undefined;
  return { postgres, pooler, redis };
}

/** PostgreSQL, Redis and sidecars that share them. */
export function startFleet(options: FleetOptions = {}): Promise<Fleet> {
  return Fleet.start(options);
}
