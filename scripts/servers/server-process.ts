import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { OrphanGuard } from './orphan-guard.ts';
import { aliveOf, runningOf, signal, treeOf } from './process-tree.ts';

export interface Identity {
  readonly uid: number;
  readonly gid: number;
}

export interface ServerProcessOptions {
  readonly command: string;
  readonly args: readonly string[];
  /** Working directory. */
  readonly directory: string;
  /** File that gets what the server says, from its beginning. */
  readonly logFile: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Another user to run as; we have to be root for that. */
  readonly identity?: Identity | undefined;
  /** Removed by the orphan guard when we end without having stopped the server. */
  readonly temporary?: string | undefined;
}

const STEP_MS = 5;
const KILL_LIMIT_MS = 10_000;

/** A foreign server as a child that dies with us, with everything it forked. */
export class ServerProcess {
  readonly pid: number;
  readonly exited: Promise<void>;
  readonly #logFile: string;
  readonly #child: ChildProcess;
  readonly #guard: OrphanGuard;
  #stopped: readonly number[] = [];
  #gone = false;

  private constructor(child: ChildProcess, pid: number, options: ServerProcessOptions) {
    this.#child = child;
    this.pid = pid;
    this.#logFile = options.logFile;
    this.#guard = new OrphanGuard(options.temporary);
    this.#guard.watch([pid]);
    this.exited = new Promise((resolve) => {
      child.once('exit', () => {
        this.#gone = true;
        this.#guard.dismiss();
        resolve();
      });
    });
  }

  /** Starts it; throws if there is no such program. Whether it serves is for the caller to find out. */
  static async start(options: ServerProcessOptions): Promise<ServerProcess> {
    const log = openSync(options.logFile, 'w', 0o600);
    try {
      const child = spawn(options.command, [...options.args], {
        cwd: options.directory,
        env: options.env ?? { PATH: process.env['PATH'] ?? '', LC_ALL: 'C', TZ: 'UTC' },
        // A group of its own: Ctrl-C is for us, and we stop servers in order.
        detached: true,
        stdio: ['ignore', log, log],
        ...options.identity,
      });
      await new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve);
        child.once('error', (error) => reject(new Error(`${options.command} did not start: ${error.message}`)));
      });
      return new ServerProcess(child, Number(child.pid), options);
    } finally {
      closeSync(log);
    }
  }

  get running(): boolean {
    return !this.#gone;
  }

  get log(): string {
    return readFileSync(this.#logFile, 'utf8');
  }

  /** SIGSTOP for the server and all that it forked: connections stay open and nothing answers. */
  async freeze(): Promise<void> {
    this.#expectRunning();
    const limit = performance.now() + KILL_LIMIT_MS;
    // The first one stops before the others are counted, so that it forks no more.
    for (let tree: readonly number[] = [this.pid]; ; ) {
      signal(tree, 'SIGSTOP');
      this.#stopped = tree;
      const next = treeOf(this.pid);
      if (next.length === tree.length && runningOf(next).length === 0) break;
      if (performance.now() > limit) throw new Error(`process ${this.pid} could not be frozen`);
      tree = next;
      await sleep(STEP_MS);
    }
    // Orphans that are frozen could not end by themselves.
    this.#guard.watch(this.#stopped);
  }

  /** Undoes `freeze`. */
  async thaw(): Promise<void> {
    const stopped = this.#stopped;
    this.#stopped = [];
    // The first one last: what it forked is awake by then.
    signal(stopped.toReversed(), 'SIGCONT');
    if (this.running) this.#guard.watch([this.pid]);
  }

  /** SIGKILL for the server and all that it forked; resolves when none is left. */
  async kill(): Promise<void> {
    if (!this.running) return;
    signal([this.pid], 'SIGSTOP');
    const tree = treeOf(this.pid);
    signal(tree, 'SIGKILL');
    signal([this.pid], 'SIGKILL');
    this.#stopped = [];
    await this.exited;
    await this.#untilGone(tree);
  }

  /** Asks it to end with a signal, and ends it by force if that takes longer than the limit. */
  async stop(name: NodeJS.Signals = 'SIGTERM', limitMs = 10_000): Promise<void> {
    if (!this.running) return;
    await this.thaw();
    const tree = treeOf(this.pid);
    this.#child.kill(name);
    const timer = new AbortController();
    const late = sleep(limitMs, 'late', { signal: timer.signal }).catch(() => undefined);
    if ((await Promise.race([this.exited, late])) === 'late') await this.kill();
    timer.abort();
    await this.#untilGone(tree);
  }

  async #untilGone(pids: readonly number[]): Promise<void> {
    const limit = performance.now() + KILL_LIMIT_MS;
    while (aliveOf(pids).length > 0) {
      if (performance.now() > limit) throw new Error(`processes ${aliveOf(pids).join(', ')} do not end`);
      await sleep(STEP_MS);
    }
  }

  #expectRunning(): void {
    if (!this.running) throw new Error(`the server is not running; it said:\n${this.log}`);
  }
}

/**
 * Asks until the answer is no longer undefined.
 * @throws Error with the server's own words when it ends, or does not get there in time.
 */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined>,
  options: { readonly server?: ServerProcess; readonly limitMs?: number; readonly stepMs?: number } = {},
): Promise<T> {
  const { server, limitMs = 20_000, stepMs = 10 } = options;
  const limit = performance.now() + limitMs;
  let last: unknown;
  while (performance.now() < limit) {
    if (server?.running === false) throw new Error(`${what}: the server ended:\n${server.log}`);
    try {
      // A stranger on the port might take the question and never answer.
      const answer = await (server ? Promise.race([ask(), server.exited.then(() => undefined)]) : ask());
      if (answer !== undefined) return answer;
    } catch (error) {
      last = error;
    }
    await sleep(stepMs);
  }
  throw new Error(`${what}: not within ${limitMs} ms${last === undefined ? '' : ` (${last})`}\n${server?.log ?? ''}`);
}
