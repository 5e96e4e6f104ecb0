import { type ChildProcess, spawn } from 'node:child_process';

/**
 * Reads lists of processes; when the pipe closes because we are gone, however that came, it ends those of the last list.
 * What they forked ends a moment later, and may still write into the folder while it is removed.
 */
const SCRIPT = `
trap '' INT TERM HUP
pids=
while read -r line; do pids=$line; done
[ -z "$pids" ] || kill -9 $pids 2>/dev/null
[ -z "$pids" ] || [ -z "$1" ] || rm -rf "$1" 2>/dev/null || { sleep 1; rm -rf "$1"; }
`;

/**
 * Ends servers that would outlive us: a shell that waits for our end of a pipe to close. Nothing that runs inside of us
 * could do that after SIGKILL.
 */
export class OrphanGuard {
  readonly #shell: ChildProcess;

  /** @param directory Removed with the orphans. */
  constructor(directory?: string) {
    this.#shell = spawn('/bin/sh', ['-c', SCRIPT, 'sallyport-orphan-guard', directory ?? ''], {
      cwd: '/',
      // Ctrl-C reaches the whole group of the terminal; the guard has to stay to the end.
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    this.#shell.on('error', () => {});
    this.#shell.stdin?.on('error', () => {});
    this.#shell.unref();
    if (this.#shell.stdin && 'unref' in this.#shell.stdin) (this.#shell.stdin as { unref(): void }).unref();
  }

  /** Whom it ends if we go now, in place of those before. */
  watch(pids: readonly number[]): void {
    this.#shell.stdin?.write(`${pids.join(' ')}\n`);
  }

  /** Sends the guard home; nobody is ended. */
  dismiss(): void {
    this.#shell.stdin?.end('\n');
  }
}
