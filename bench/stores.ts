import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DATABASE, makeCentralDatabase, migrate, ROLES } from '../scripts/servers/central-database.ts';
import { type PostgresServer, startPostgres } from '../scripts/servers/postgres.ts';
import { type RedisServer, startRedis } from '../scripts/servers/redis.ts';
import { loadOrCreateKeyRing } from '../src/adapters/secrets/key-ring-file.ts';
import { systemRandom } from '../src/adapters/system.ts';
import { newDirectory, removeDirectory, Sidecar } from './sidecar.ts';

type Settings = Readonly<Record<string, string>>;

export interface StoresOptions {
  /** Without Redis if false. */
  readonly redis?: boolean;
  readonly postgresSettings?: Settings;
}

/** A PostgreSQL with the schema and a Redis, for sidecars that share them: real servers on free ports of loopback. */
export class Stores implements AsyncDisposable {
  readonly postgres: PostgresServer;
  readonly #redis: RedisServer | undefined;
  readonly #directory: string;
  readonly #stack: AsyncDisposableStack;
  #made = 0;

  private constructor(
    postgres: PostgresServer,
    redis: RedisServer | undefined,
    directory: string,
    stack: AsyncDisposableStack,
  ) {
    this.postgres = postgres;
    this.#redis = redis;
    this.#directory = directory;
    this.#stack = stack;
  }

  static async start({ redis = true, postgresSettings = {} }: StoresOptions = {}): Promise<Stores> {
    await using stack = new AsyncDisposableStack();
    const directory = stack.adopt(newDirectory(), removeDirectory);
    const redisServer = redis ? stack.use(await startRedis()) : undefined;
    const postgres = stack.use(await startPostgres({ settings: postgresSettings }));
    await makeCentralDatabase(postgres);
    await migrate({ postgres, directory });
    await loadOrCreateKeyRing(join(directory, 'keys.json'), systemRandom);
    return new Stores(postgres, redisServer, directory, stack.move());
  }

  get redis(): RedisServer {
    if (this.#redis === undefined) throw new Error('started without Redis');
    return this.#redis;
  }

  /** The key ring that all sidecars share. */
  get keysFile(): string {
    return join(this.#directory, 'keys.json');
  }

  /** As the role of the sidecars. */
  get url(): string {
    return this.postgres.url(DATABASE, ROLES.state);
  }

  /** A folder that goes with the stores. */
  directory(name: string): string {
    const path = join(this.#directory, name);
    mkdirSync(path, { mode: 0o700 });
    return path;
  }

  /** A new sidecar over these stores. To be disposed of before them. */
  sidecar(settings: Settings = {}): Promise<Sidecar> {
    this.#made += 1;
    return Sidecar.start(this.directory(`sidecar-${this.#made}`), {
      SALLYPORT_KEYS_FILE: this.keysFile,
      SALLYPORT_POSTGRES_URL: this.url,
      SALLYPORT_POSTGRES_TLS: 'off',
      ...(this.#redis && {
        SALLYPORT_REDIS_MODE: 'single',
        SALLYPORT_REDIS_ADDRESSES: JSON.stringify([this.#redis.address]),
      }),
      ...settings,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#redis?.thaw();
    await this.postgres.thaw();
    await this.#stack.disposeAsync();
  }
}
