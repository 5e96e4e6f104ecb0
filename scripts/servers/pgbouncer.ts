import { chownSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { findProgram, unprivileged } from './binaries.ts';
import { onFreePort, onSamePort, PortTaken } from './free-port.ts';
import type { PostgresServer } from './postgres.ts';
import { SUPERUSER } from './postgres-template.ts';
import { removeIfTemporary, type ServerDirectory, temporaryDirectory } from './server-directory.ts';
import { type Identity, ServerProcess, until } from './server-process.ts';

export interface PgbouncerOptions {
  /** The server behind it, without TLS; its roles of this moment may log in. */
  readonly postgres: PostgresServer;
  /** Connections to the server for each database and role. */
  readonly poolSize?: number;
  /** More lines of the section [pgbouncer]; they win over those from here. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** A pooler that gives a connection to the server for the length of one transaction. */
export class Pgbouncer {
  readonly port: number;
  readonly #directory: ServerDirectory;
  readonly #identity: Identity | undefined;
  readonly #passwords: ReadonlyMap<string, string>;
  #process: ServerProcess;

  private constructor(
    port: number,
    directory: ServerDirectory,
    identity: Identity | undefined,
    passwords: ReadonlyMap<string, string>,
    process: ServerProcess,
  ) {
    this.port = port;
    this.#directory = directory;
    this.#identity = identity;
    this.#passwords = passwords;
    this.#process = process;
  }

  static async start(options: PgbouncerOptions): Promise<Pgbouncer> {
    const identity = unprivileged();
    const directory = temporaryDirectory('pgbouncer', identity);
    const passwords = new Map(options.postgres.passwords);
    try {
      return await onFreePort(async (port) => {
        writeConfiguration(options, directory, identity, port);
        const pooler = new Pgbouncer(port, directory, identity, passwords, await launch(directory, identity));
        await pooler.#ready();
        return pooler;
      });
    } catch (error) {
      removeIfTemporary(directory);
      throw error;
    }
  }

  get log(): string {
    return this.#process.log;
  }

  get running(): boolean {
    return this.#process.running;
  }

  /** As `PostgresServer.url`, through the pooler. */
  url(database = 'postgres', role = SUPERUSER): string {
    const password = this.#passwords.get(role);
    if (password === undefined) throw new Error(`the pooler knows no role ${role}; it has to exist before it starts`);
    return `postgresql://${role}:${password}@127.0.0.1:${this.port}/${database}`;
  }

  freeze(): Promise<void> {
    return this.#process.freeze();
  }

  thaw(): Promise<void> {
    return this.#process.thaw();
  }

  kill(): Promise<void> {
    return this.#process.kill();
  }

  async restart(): Promise<void> {
    await this.stop();
    await onSamePort(async () => {
      this.#process = await launch(this.#directory, this.#identity);
      await this.#ready();
    });
  }

  /** Ends it at once; connections are cut. */
  async stop(): Promise<void> {
    await this.#process.stop('SIGTERM');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    removeIfTemporary(this.#directory);
  }

  async #ready(): Promise<void> {
    const server = this.#process;
    try {
      await until(`PgBouncer on ${this.port}`, () => this.#answers(), { server });
    } catch (error) {
      await server.kill();
      throw /in use|cannot listen/i.test(server.log) ? new PortTaken(`127.0.0.1:${this.port}`) : error;
    }
  }

  async #answers(): Promise<true> {
    const client = new Client({ connectionString: this.url(), connectionTimeoutMillis: 5_000, query_timeout: 5_000 });
    client.on('error', () => {});
    try {
      await client.connect();
      await client.query('SELECT 1');
      return true;
    } finally {
      await client.end().catch(() => {});
    }
  }
}

function writeConfiguration(
  { postgres, poolSize = 20, settings = {} }: PgbouncerOptions,
  directory: ServerDirectory,
  identity: Identity | undefined,
  port: number,
): void {
  const lines = {
    listen_addr: '127.0.0.1',
    listen_port: String(port),
    unix_socket_dir: '',
    pool_mode: 'transaction',
    default_pool_size: String(poolSize),
    max_client_conn: '2000',
    auth_type: 'scram-sha-256',
    auth_file: join(directory.path, 'users.txt'),
    ...settings,
  };
  const files = {
    'pgbouncer.ini': [
      '[databases]',
      `* = host=127.0.0.1 port=${postgres.port}`,
      '[pgbouncer]',
      ...Object.entries(lines).map(([key, value]) => `${key} = ${value}`),
    ],
    'users.txt': [...postgres.passwords].map(([role, password]) => `"${role}" "${password}"`),
  };
  for (const [name, content] of Object.entries(files)) {
    const file = join(directory.path, name);
    writeFileSync(file, `${content.join('\n')}\n`, { mode: 0o600 });
    if (identity !== undefined) chownSync(file, identity.uid, identity.gid);
  }
}

function launch(directory: ServerDirectory, identity: Identity | undefined): Promise<ServerProcess> {
  return ServerProcess.start({
    command: findProgram('pgbouncer'),
    args: [join(directory.path, 'pgbouncer.ini')],
    directory: directory.path,
    logFile: join(directory.path, 'pgbouncer.log'),
    identity,
    temporary: directory.temporary,
  });
}

/** A pooler in transaction mode in front of a PostgreSQL server. */
export function startPgbouncer(options: PgbouncerOptions): Promise<Pgbouncer> {
  return Pgbouncer.start(options);
}
