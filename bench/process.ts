import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** A process of its own, on the same Node, with whatever it prints line by line. */
export class Script {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #name: string;
  /** The last of what it said on stderr. */
  #said = '';

  constructor(script: string, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}) {
    this.#name = script;
    this.child = spawn(process.execPath, [script, ...args], {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stderr?.on('data', (chunk) => {
      this.#said = (this.#said + chunk).slice(-4_096);
    });
    this.#lines = linesOf(this.child);
  }

  get pid(): number {
    const { pid } = this.child;
    if (pid === undefined) throw new Error(`${this.#name} did not start`);
    return pid;
  }

  /** The next line it prints. Throws if it ends without one. */
  async line(): Promise<string> {
    const next = await this.#lines.next();
    if (next.done) throw new Error(`${this.#name} ended before it said what was expected:\n${this.#said}`);
    return next.value;
  }

  /** Asks it to end and waits until it has. */
  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await exited;
  }
}

async function* linesOf(child: ChildProcess): AsyncGenerator<string, void> {
  let text = '';
  for await (const chunk of child.stdout ?? []) {
    text += chunk;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      yield text.slice(0, end);
      text = text.slice(end + 1);
    }
  }
}

/** Runs a script of ours that prints one line of JSON; answers it. Throws when there is none. */
export async function runScript<T>(
  script: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<T> {
  const running = new Script(script, args, env);
  try {
    return JSON.parse(await running.line()) as T;
  } finally {
    await running.stop();
  }
}

/** Resident memory of a process, in MiB. */
export function residentMiB(pid: number): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(line) / 1024;
}

/** The most resident memory that a process has while `work` runs, in MiB, looked at 20 times a second. */
export async function residentDuring<T>(
  pid: number,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly peak: number }> {
  let peak = residentMiB(pid);
  const timer = setInterval(() => {
    peak = Math.max(peak, residentMiB(pid));
  }, 50);
  try {
    const result = await work();
    return { result, peak };
  } finally {
    clearInterval(timer);
  }
}
