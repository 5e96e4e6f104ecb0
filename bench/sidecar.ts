import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, Script } from './process.ts';
import { untilServing } from './serving.ts';

const program = join(root, 'dist/main.mjs');

/** A new folder for data, removed by `removeDirectory`. */
export function newDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'sallyport-bench-'));
}

export function removeDirectory(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
}

/** The built program as its own process, as a user runs it, on free ports of loopback. */
export class Sidecar implements AsyncDisposable {
  readonly #script: Script;
  readonly grpcPort: number;
  /** From before the process was made until SERVING, in milliseconds. */
  readonly startMs: number;

  private constructor(script: Script, grpcPort: number, startMs: number) {
    this.#script = script;
    this.grpcPort = grpcPort;
    this.startMs = startMs;
  }

  get pid(): number {
    return this.#script.pid;
  }

  static async start(dataDir: string, env: Readonly<Record<string, string>> = {}): Promise<Sidecar> {
    if (!existsSync(program)) throw new Error('not built yet: run `node scripts/build.mjs`');
    const [grpc = 0, http, admin] = await freePorts(3);
    const startedAt = performance.now();
    const script = new Script(program, ['serve'], {
      SALLYPORT_DATA_DIR: dataDir,
      SALLYPORT_LISTENERS_GRPC_ADDRESS: `127.0.0.1:${grpc}`,
      SALLYPORT_LISTENERS_HTTP_ADDRESS: `127.0.0.1:${http}`,
      SALLYPORT_LISTENERS_ADMIN_ADDRESS: `127.0.0.1:${admin}`,
      ...env,
    });
    await untilServing(grpc);
    return new Sidecar(script, grpc, performance.now() - startedAt);
  }

  /** Ends within a second, with the calls in flight. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { child } = this.#script;
    const again = setTimeout(() => child.kill('SIGTERM'), 500);
    await this.#script.stop();
    clearTimeout(again);
  }
}

/** Ports that were free a moment ago. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve, reject) => {
        server.on('error', reject);
        server.listen(0, '127.0.0.1', resolve);
      });
      return server;
    }),
  );
  return servers.map((server) => {
    const address = server.address();
    server.close();
    if (!address || typeof address !== 'object') throw new Error('no free port');
    return address.port;
  });
}
