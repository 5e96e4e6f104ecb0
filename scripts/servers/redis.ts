import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from './binaries.ts';
import { type Certificates, makeCertificates } from './certificates.ts';
import { onFreePort, onSamePort, PortTaken } from './free-port.ts';
import { removeIfTemporary, type ServerDirectory, temporaryDirectory } from './server-directory.ts';
import { ServerProcess, until } from './server-process.ts';

const run = promisify(execFile);
const CLI_LIMIT_MS = 10_000;
/** Who we are for `cli` when the default user is switched off. */
const OWN_USER = 'sallyport-harness';

export interface AclUser {
  readonly username: string;
  readonly password: string;
  /** For instance `~sallyport:* &sallyport:* +@read +@write`. */
  readonly rules: string;
}

export interface RedisOptions {
  /** TLS only, with certificates made here: `server` is named 127.0.0.1, `wrongName` is not. */
  readonly tls?: boolean | { readonly certificate?: 'server' | 'wrongName'; readonly askClient?: boolean };
  /** The users; the default user is switched off. */
  readonly acl?: readonly AclUser[];
  /** Password of the default user, and of the master it replicates. */
  readonly password?: string;
  /** More lines for redis.conf, for instance `maxmemory: '3mb'`; they win over those from here. */
  readonly settings?: Readonly<Record<string, string>>;
  /** More command-line arguments, for instance `['--maxmemory', '3mb']`. */
  readonly args?: readonly string[];
  readonly port?: number;
  /** Runs as a Sentinel with these lines. */
  readonly sentinel?: readonly string[];
  /** Kept between starts, with its data; a temporary folder, without persistence, if left out. */
  readonly directory?: string;
}

interface Made {
  readonly options: RedisOptions;
  readonly directory: ServerDirectory;
  readonly certificates: Certificates | undefined;
  readonly ownPassword: string;
  readonly port: number;
  readonly process: ServerProcess;
}

/** Written once: a Sentinel keeps there what it learns, and has servers write down whose replica they became. */
const configurationFile = (directory: ServerDirectory) => join(directory.path, 'redis.conf');

function configuration(made: Omit<Made, 'process'>): string {
  const { options, directory, certificates, ownPassword, port } = made;
  const password = options.password === undefined ? [] : [`requirepass "${options.password}"`];
  if (options.sentinel !== undefined) {
    const lines = ['bind 127.0.0.1', `port ${port}`, `dir "${directory.path}"`, ...password, ...options.sentinel];
    return `${lines.join('\n')}\n`;
  }
  const kept = directory.temporary === undefined;
  const lines: Record<string, string> = {
    bind: '127.0.0.1',
    port: String(port),
    dir: `"${directory.path}"`,
    daemonize: 'no',
    save: kept ? '60 1' : '""',
    appendonly: 'no',
    databases: '16',
    // Tests need DEBUG to bring a server into trouble.
    'enable-debug-command': 'yes',
  };
  if (options.password !== undefined) lines['masterauth'] = `"${options.password}"`;
  if (certificates !== undefined) {
    const { certificate = 'server', askClient = false } = typeof options.tls === 'object' ? options.tls : {};
    lines['port'] = '0';
    lines['tls-port'] = String(port);
    lines['tls-cert-file'] = `"${certificates[certificate].certFile}"`;
    lines['tls-key-file'] = `"${certificates[certificate].keyFile}"`;
    lines['tls-ca-cert-file'] = `"${certificates.caFile}"`;
    lines['tls-auth-clients'] = askClient ? 'yes' : 'no';
  }
  const users =
    options.acl === undefined
      ? []
      : [
          'user default off',
          `user ${OWN_USER} on >${ownPassword} ~* &* +@all`,
          ...options.acl.map(({ username, password, rules }) => `user ${username} on >${password} ${rules}`),
        ];
  const settings = Object.entries({ ...lines, ...options.settings }).map(([key, value]) => `${key} ${value}`);
  return `${[...settings, ...password, ...users].join('\n')}\n`;
}

/** One Redis server on a loopback port. */
export class RedisServer {
  readonly port: number;
  readonly certificates: Certificates | undefined;
  readonly #made: Made;
  #process: ServerProcess;
  #dumps = 0;

  private constructor(made: Made) {
    this.#made = made;
    this.#process = made.process;
    this.port = made.port;
    this.certificates = made.certificates;
  }

  static async start(options: RedisOptions = {}): Promise<RedisServer> {
    const directory = serverDirectory(options.directory);
    try {
      const certificates = options.tls ? makeCertificates(directory.path) : undefined;
      const ownPassword = randomBytes(24).toString('hex');
      return await onFreePort(async (port) => {
        const made = { options, directory, certificates, ownPassword, port };
        writeFileSync(configurationFile(directory), configuration(made), { mode: 0o600 });
        const server = new RedisServer({ ...made, process: await launch(made) });
        await server.#ready();
        return server;
      }, options.port);
    } catch (error) {
      removeIfTemporary(directory);
      throw error;
    }
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
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

  /** One command through redis-cli as somebody who may do everything; throws what the server refuses. */
  async cli(...args: readonly string[]): Promise<string> {
    const { options, ownPassword } = this.#made;
    const tls = this.certificates;
    const connection = ['-h', '127.0.0.1', '-p', String(this.port), '-e', '--no-auth-warning'];
    if (tls) connection.push('--tls', '--cacert', tls.caFile, '--insecure');
    if (tls) connection.push('--cert', tls.client.certFile, '--key', tls.client.keyFile);
    if (options.acl) connection.push('--user', OWN_USER);
    const password = options.acl ? ownPassword : options.password;
    const { stdout } = await run(findProgram('redis-cli'), [...connection, ...args], {
      timeout: CLI_LIMIT_MS,
      // Not on the command line, where everybody on the machine reads it.
      env: { PATH: process.env['PATH'] ?? '', ...(password === undefined ? {} : { REDISCLI_AUTH: password }) },
    });
    return stdout.replace(/\n$/, '');
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

  /** Writes what it holds now to a file, for `restart`. */
  async snapshot(): Promise<string> {
    const { path } = this.#made.directory;
    await this.cli('SAVE');
    this.#dumps += 1;
    const kept = join(path, `kept-${this.#dumps}.rdb`);
    copyFileSync(join(path, 'dump.rdb'), kept);
    return kept;
  }

  /**
   * Ends it, if it runs, and starts it again on the same port.
   * @param dump What it holds then: a file of `snapshot`, however old; nothing if left out, unless its folder is kept.
   */
  async restart(dump?: string): Promise<void> {
    await this.#process.stop();
    const { path, temporary } = this.#made.directory;
    const current = join(path, 'dump.rdb');
    if (dump !== undefined) copyFileSync(dump, current);
    else if (temporary !== undefined) rmSync(current, { force: true });
    await onSamePort(async () => {
      this.#process = await launch(this.#made);
      await this.#ready();
    });
  }

  async stop(): Promise<void> {
    await this.#process.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.thaw();
    if (this.#made.directory.temporary === undefined) await this.#process.stop();
    else await this.#process.kill();
    removeIfTemporary(this.#made.directory);
  }

  async #ready(): Promise<void> {
    const server = this.#process;
    try {
      const pong = async () => ((await this.cli('PING')) === 'PONG' ? true : undefined);
      await until(`redis on ${this.port}`, pong, { server });
    } catch (error) {
      await server.kill();
      throw server.log.includes('Address already in use') ? new PortTaken(this.address) : error;
    }
  }
}

function serverDirectory(given: string | undefined): ServerDirectory {
  if (given === undefined) return temporaryDirectory('redis');
  if (!existsSync(given)) mkdirSync(given, { recursive: true, mode: 0o700 });
  return { path: given, temporary: undefined };
}

function launch(made: Omit<Made, 'process'>): Promise<ServerProcess> {
  const { path, temporary } = made.directory;
  return ServerProcess.start({
    command: findProgram('redis-server'),
    args: [
      configurationFile(made.directory),
      ...(made.options.sentinel ? ['--sentinel'] : []),
      ...(made.options.args ?? []),
    ],
    directory: path,
    logFile: join(path, 'redis.log'),
    temporary,
  });
}

/** A single Redis server. */
export function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  return RedisServer.start(options);
}
