import { randomBytes } from 'node:crypto';
import { chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, escapeIdentifier, escapeLiteral, type QueryResultRow } from 'pg';
import { findPostgresProgram, unprivileged } from './binaries.ts';
import { type Certificates, makeCertificates } from './certificates.ts';
import { onFreePort, onSamePort, PortTaken } from './free-port.ts';
import { initialize, initializeFromTemplate, SUPERUSER } from './postgres-template.ts';
import { removeIfTemporary, type ServerDirectory, temporaryDirectory } from './server-directory.ts';
import { type Identity, ServerProcess, until } from './server-process.ts';

const CONNECT_LIMIT_MS = 10_000;
/** Some count all that a test has written, on a machine that may stand still for a while. */
const QUERY_LIMIT_MS = 60_000;
/** Longer paths of Unix sockets are refused by the system. */
const LONGEST_SOCKET_FOLDER = 80;

export interface PostgresOptions {
  /** TLS only, with certificates made here: `server` is named 127.0.0.1, `wrongName` is not. */
  readonly tls?: boolean | { readonly certificate: 'server' | 'wrongName' };
  readonly port?: number;
  /** More settings, for instance `{ max_connections: '200' }`; they win over those from here. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Kept between starts, with its data; a temporary folder if left out. */
  readonly directory?: string;
}

interface Made {
  readonly options: PostgresOptions;
  readonly directory: ServerDirectory;
  readonly identity: Identity | undefined;
  readonly certificates: Certificates | undefined;
  readonly port: number;
}

const dataOf = (directory: ServerDirectory) => join(directory.path, 'data');

function argumentsOf({ options, directory, certificates, port }: Made): readonly string[] {
  const certificate = certificates?.[typeof options.tls === 'object' ? options.tls.certificate : 'server'];
  const settings: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: directory.path.length > LONGEST_SOCKET_FOLDER ? '' : directory.path,
    max_connections: '100',
    shared_buffers: '64MB',
    // Neither compiling queries nor workers of its own: several of these run on one small machine.
    jit: 'off',
    max_parallel_workers_per_gather: '0',
    ...(certificate
      ? { ssl: 'on', ssl_cert_file: certificate.certFile, ssl_key_file: certificate.keyFile }
      : { ssl: 'off' }),
    ...options.settings,
  };
  return ['-D', dataOf(directory), ...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`])];
}

/** One PostgreSQL server on a loopback port; everybody needs a password (SCRAM). */
export class PostgresServer {
  readonly port: number;
  readonly certificates: Certificates | undefined;
  readonly #made: Made;
  readonly #passwords: Map<string, string>;
  #process: ServerProcess;

  private constructor(made: Made, passwords: Map<string, string>, process: ServerProcess) {
    this.#made = made;
    this.#passwords = passwords;
    this.#process = process;
    this.port = made.port;
    this.certificates = made.certificates;
  }

  static async start(options: PostgresOptions = {}): Promise<PostgresServer> {
    const identity = unprivileged();
    const directory = serverDirectory(options.directory, identity);
    try {
      const passwords = new Map([[SUPERUSER, superuserPassword(directory, identity)]]);
      const certificates = options.tls ? certificatesFor(directory, identity) : undefined;
      return await onFreePort(async (port) => {
        const made = { options, directory, identity, certificates, port };
        const server = new PostgresServer(made, passwords, await launch(made));
        await server.#ready();
        return server;
      }, options.port);
    } catch (error) {
      removeIfTemporary(directory);
      throw error;
    }
  }

  get log(): string {
    return this.#process.log;
  }

  get pid(): number {
    return this.#process.pid;
  }

  get running(): boolean {
    return this.#process.running;
  }

  /** Folder of its Unix socket `.s.PGSQL.<port>`. */
  get socketDirectory(): string {
    return this.#made.directory.path;
  }

  /** Names and passwords of those who may log in. */
  get passwords(): ReadonlyMap<string, string> {
    return this.#passwords;
  }

  /** `postgresql://…` of a database, for a role made by `createRole`, or for the superuser. */
  url(database = 'postgres', role = SUPERUSER): string {
    const password = this.#passwords.get(role);
    if (password === undefined) throw new Error(`there is no role ${role}`);
    return `postgresql://${role}:${password}@127.0.0.1:${this.port}/${database}`;
  }

  /** A role that may log in, with a password of its own unless one is given. @returns Its password. */
  async createRole(role: string, password = randomBytes(18).toString('hex')): Promise<string> {
    const known = await this.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [role]);
    const verb = known.length > 0 ? 'ALTER' : 'CREATE';
    await this.query(`${verb} ROLE ${escapeIdentifier(role)} LOGIN PASSWORD ${escapeLiteral(password)}`);
    this.#passwords.set(role, password);
    return password;
  }

  /**
   * Makes an empty database, if there is none of this name. @returns Its URL for the owner.
   * @param owner A role made by `createRole`; the superuser if left out.
   */
  async createDatabase(name: string, owner = SUPERUSER): Promise<string> {
    const known = await this.query('SELECT 1 FROM pg_database WHERE datname = $1', [name]);
    if (known.length === 0)
      await this.query(`CREATE DATABASE ${escapeIdentifier(name)} OWNER ${escapeIdentifier(owner)}`);
    return this.url(name, owner);
  }

  /** One statement as the superuser, over a connection of its own. @returns The rows. */
  async query<R extends QueryResultRow = QueryResultRow>(
    text: string,
    values: readonly unknown[] = [],
    database = 'postgres',
  ): Promise<readonly R[]> {
    const ca = this.certificates && readFileSync(this.certificates.caFile, 'utf8');
    const client = new Client({
      connectionString: this.url(database),
      connectionTimeoutMillis: CONNECT_LIMIT_MS,
      query_timeout: QUERY_LIMIT_MS,
      // We are asking about the server that we started, even if it shows a certificate for another name.
      ssl: ca === undefined ? false : { ca, checkServerIdentity: () => undefined },
    });
    // A connection that breaks is told to whoever awaits the query.
    client.on('error', () => {});
    try {
      await client.connect();
      return (await client.query<R>(text, [...values])).rows;
    } finally {
      await client.end().catch(() => {});
    }
  }

  /** SIGSTOP for all its processes: connections stay open, and new ones are accepted by the kernel alone. */
  freeze(): Promise<void> {
    return this.#process.freeze();
  }

  thaw(): Promise<void> {
    return this.#process.thaw();
  }

  /** SIGKILL for all its processes, as when the machine loses power. */
  kill(): Promise<void> {
    return this.#process.kill();
  }

  /** Ends it, if it runs, and starts it again on the same port with the same data, after recovery where that is due. */
  async restart(): Promise<void> {
    await this.stop();
    await onSamePort(async () => {
      this.#process = await launch(this.#made);
      await this.#ready();
    });
  }

  /** Ends it cleanly; connections are cut (a fast shutdown). */
  async stop(): Promise<void> {
    await this.#process.stop('SIGINT');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#made.directory.temporary === undefined) await this.stop();
    else await this.kill();
    removeIfTemporary(this.#made.directory);
  }

  async #ready(): Promise<void> {
    const server = this.#process;
    try {
      await until(`PostgreSQL on ${this.port}`, async () => (await this.query('SELECT 1')).length, {
        server,
        limitMs: 60_000,
      });
    } catch (error) {
      await server.kill();
      throw server.log.includes('Address already in use') ? new PortTaken(`127.0.0.1:${this.port}`) : error;
    }
  }
}

function serverDirectory(given: string | undefined, identity: Identity | undefined): ServerDirectory {
  if (given === undefined) return temporaryDirectory('postgres', identity);
  if (!existsSync(given)) mkdirSync(given, { recursive: true, mode: 0o700 });
  if (identity !== undefined) chownSync(given, identity.uid, identity.gid);
  return { path: given, temporary: undefined };
}

/** Makes the database cluster if there is none. */
function superuserPassword(directory: ServerDirectory, identity: Identity | undefined): string {
  const data = dataOf(directory);
  if (directory.temporary !== undefined) return initializeFromTemplate(data, identity);
  const file = join(directory.path, 'superuser.password');
  if (existsSync(data)) return readFileSync(file, 'utf8').trim();
  const password = randomBytes(18).toString('hex');
  writeFileSync(file, `${password}\n`, { mode: 0o600 });
  initialize(data, password, identity);
  return password;
}

/** PostgreSQL takes a key only from its own user. It refuses whoever does not speak TLS. */
function certificatesFor(directory: ServerDirectory, identity: Identity | undefined): Certificates {
  const certificates = makeCertificates(directory.path);
  if (identity !== undefined)
    for (const { certFile, keyFile } of [certificates.server, certificates.wrongName])
      for (const file of [certFile, keyFile]) chownSync(file, identity.uid, identity.gid);
  const rules = ['local all all scram-sha-256', 'hostssl all all 127.0.0.1/32 scram-sha-256'];
  writeFileSync(join(dataOf(directory), 'pg_hba.conf'), `${rules.join('\n')}\n`);
  return certificates;
}

function launch(made: Made): Promise<ServerProcess> {
  const { path, temporary } = made.directory;
  return ServerProcess.start({
    command: findPostgresProgram('postgres'),
    args: argumentsOf(made),
    directory: path,
    logFile: join(path, 'postgres.log'),
    identity: made.identity,
    temporary,
  });
}

/** A PostgreSQL server of the newest release installed. */
export function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  return PostgresServer.start(options);
}
