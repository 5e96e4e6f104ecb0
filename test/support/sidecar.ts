import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../scripts/servers/free-port.ts';
import { GrpcClient } from './grpc-client.ts';

export const projectRoot = fileURLToPath(new URL('../..', import.meta.url));
const nodeBinary = join(projectRoot, 'node_modules/node/bin/node');

export interface SidecarOptions {
  /** Reused over restarts; a new temporary folder if absent. */
  readonly dataDir?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  readonly ports?: { readonly grpc: number; readonly http: number; readonly admin: number };
}

/** The built program as its own process, as a user runs it, on free loopback ports. */
export class Sidecar {
  readonly child: ChildProcess;
  readonly dataDir: string;
  readonly ports: { readonly grpc: number; readonly http: number; readonly admin: number };
  stdout = '';
  stderr = '';
  /** Resolves when it has ended and all that it said is in `stdout` and `stderr`. */
  readonly exited: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  readonly #ownsDataDir: boolean;
  readonly #clients: GrpcClient[] = [];

  private constructor(child: ChildProcess, dataDir: string, ownsDataDir: boolean, ports: Sidecar['ports']) {
    this.child = child;
    this.dataDir = dataDir;
    this.ports = ports;
    this.#ownsDataDir = ownsDataDir;
    child.stdout?.on('data', (chunk) => {
      this.stdout += chunk;
    });
    child.stderr?.on('data', (chunk) => {
      this.stderr += chunk;
    });
    // Not at `exit`, which may come before the last words.
    this.exited = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal })));
  }

  static async start(options: SidecarOptions = {}): Promise<Sidecar> {
    const sidecar = await Sidecar.spawn(options);
    try {
      await sidecar.ready();
      return sidecar;
    } catch (error) {
      // Nobody else knows of it.
      await sidecar.stop('SIGKILL');
      await sidecar[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Starts the process without waiting for it to be ready. */
  static async spawn(options: SidecarOptions = {}): Promise<Sidecar> {
    const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'sallyport-e2e-'));
    const ports = options.ports ?? { grpc: await freePort(), http: await freePort(), admin: await freePort() };
    const child = spawn(nodeBinary, [join(projectRoot, 'dist/main.mjs'), 'serve', ...(options.args ?? [])], {
      cwd: dataDir,
      env: {
        PATH: process.env['PATH'] ?? '',
        SALLYPORT_DATA_DIR: dataDir,
        SALLYPORT_LISTENERS_GRPC_ADDRESS: `127.0.0.1:${ports.grpc}`,
        SALLYPORT_LISTENERS_HTTP_ADDRESS: `127.0.0.1:${ports.http}`,
        SALLYPORT_LISTENERS_ADMIN_ADDRESS: `127.0.0.1:${ports.admin}`,
        ...options.env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return new Sidecar(child, dataDir, options.dataDir === undefined, ports);
  }

  async ready(timeoutMs = 60_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (performance.now() < deadline) {
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        const { code, signal } = await this.exited;
        throw new Error(`the sidecar ended (${code ?? signal}):\n${this.stdout}${this.stderr}`);
      }
      const answer = await fetch(`http://127.0.0.1:${this.ports.admin}/readyz`).catch(() => undefined);
      if (answer?.ok) return;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw new Error(`the sidecar did not get ready:\n${this.stdout}${this.stderr}`);
  }

  get grpcAddress(): string {
    return `127.0.0.1:${this.ports.grpc}`;
  }

  get httpUrl(): string {
    return `http://127.0.0.1:${this.ports.http}`;
  }

  get adminUrl(): string {
    return `http://127.0.0.1:${this.ports.admin}`;
  }

  get operatorToken(): string {
    return readFileSync(join(this.dataDir, 'operator.token'), 'utf8').trim();
  }

  /** A new client (its own connection), closed with the sidecar. */
  client(headers: Record<string, string> = { 'x-sallyport-client': 'test' }): GrpcClient {
    const client = new GrpcClient(this.grpcAddress, headers, { 'grpc.use_local_subchannel_pool': 1 });
    this.#clients.push(client);
    return client;
  }

  operator(): GrpcClient {
    return this.client({ 'x-sallyport-client': 'test', authorization: `Bearer ${this.operatorToken}` });
  }

  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.adminUrl}/metrics`)).text();
    let sum = 0;
    for (const line of text.split('\n')) {
      if (line.startsWith(`${name} `) || line.startsWith(`${name}{`))
        sum += Number(line.slice(line.lastIndexOf(' ') + 1));
    }
    return sum;
  }

  async stop(
    signal: NodeJS.Signals = 'SIGTERM',
  ): Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }> {
    for (const client of this.#clients.splice(0)) client.close();
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
    return this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const force = setTimeout(() => this.child.kill('SIGKILL'), 15_000);
    await this.stop();
    clearTimeout(force);
    if (this.#ownsDataDir && existsSync(this.dataDir)) rmSync(this.dataDir, { recursive: true, force: true });
  }
}
