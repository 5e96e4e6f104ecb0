import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { isFree } from '../../scripts/servers/free-port.ts';
import { signal, treeOf } from '../../scripts/servers/process-tree.ts';
import { eventually } from './eventually.ts';
import { projectRoot } from './sidecar.ts';

const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 30_000;
/** First ports of sidecar A without an offset: gRPC, HTTP, admin. */
const FIRST_PORTS = [50_051, 8_080, 9_090];
/**
 * Between these offsets no port is one that Linux gives to outgoing connections (up to 60999), of which there are many while
 * the servers start, nor one that `freePort` gives to those servers: what was free before could be taken then.
 */
const FIRST_OFFSET = 11_000;
const LAST_OFFSET = 11_800;
const STEP = 100;

/** An offset at which the ports of three sidecars are free. */
export async function freeOffset(): Promise<number> {
  for (let offset = FIRST_OFFSET; offset <= LAST_OFFSET; offset += STEP) {
    const ports = FIRST_PORTS.flatMap((port) => [0, 1, 2, 10, 20].map((step) => port + step + offset));
    if ((await Promise.all(ports.map(isFree))).every((free) => free)) return offset;
  }
  throw new Error('no free ports for a cluster');
}

/** `npm run cluster` as a person runs it, with its data in `sallyport-cluster` of a folder. */
export class RunningCluster {
  readonly portOffset: number;
  /** What it says to a person: standard output and standard error. */
  said = '';
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #exited: Promise<number | null>;

  private constructor(child: ChildProcess, directory: string, portOffset: number) {
    this.#child = child;
    this.#directory = directory;
    this.portOffset = portOffset;
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk) => {
        this.said += chunk;
      });
    // Not at `exit`, which may come before the last words.
    this.#exited = new Promise((resolve) => child.on('close', (code) => resolve(code)));
  }

  /** Resolves when it has shown what to try. */
  static async start(folder: string, options: readonly string[] = []): Promise<RunningCluster> {
    const cluster = await RunningCluster.launch(folder, await freeOffset(), options);
    const ready = () => cluster.said.includes('Ctrl-C stops everything') || cluster.#child.exitCode !== null;
    await eventually('the cluster', ready, START_LIMIT_MS);
    if (cluster.#child.exitCode !== null) throw new Error(`the cluster ended:\n${(await cluster.ended()).said}`);
    return cluster;
  }

  /** Starts it without waiting. */
  static async launch(folder: string, portOffset: number, options: readonly string[] = []): Promise<RunningCluster> {
    const directory = join(folder, 'sallyport-cluster');
    const args = ['--dir', directory, '--port-offset', String(portOffset), ...options];
    const child = spawn(process.execPath, [join(projectRoot, 'scripts/cluster.mjs'), ...args], {
      cwd: projectRoot,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return new RunningCluster(child, directory, portOffset);
  }

  get pid(): number {
    return Number(this.#child.pid);
  }

  /** SIGKILL for the launcher and for the program that it launched, which are two processes. */
  async kill(): Promise<void> {
    const launched = treeOf(this.pid).slice(0, 2);
    signal(launched, 'SIGKILL');
    await this.#exited;
  }

  /** Ends it as Ctrl-C does. @returns All that it said. */
  async stop(): Promise<string> {
    this.#child.kill('SIGINT');
    const late = setTimeout(() => void this.kill(), STOP_LIMIT_MS);
    await this.#exited;
    clearTimeout(late);
    return this.said;
  }

  /** Resolves with its exit code and what it said, when it ends by itself. */
  async ended(): Promise<{ readonly code: number | null; readonly said: string }> {
    return { code: await this.#exited, said: this.said };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null) await this.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
