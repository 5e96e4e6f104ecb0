import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

interface Entry {
  readonly pid: number;
  readonly parent: number;
  /** One letter, as `ps` shows it: T is stopped, Z is dead. */
  readonly state: string;
}

function fromProc(): readonly Entry[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      // The name of the program stands in brackets and may hold any character.
      const [state = '', parent = ''] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return [{ pid: Number(name), parent: Number(parent), state }];
    } catch {
      return [];
    }
  });
}

function fromPs(): readonly Entry[] {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,stat='], { encoding: 'utf8' }).trim().split('\n');
  return lines.map((line) => {
    const [pid, parent, state = ''] = line.trim().split(/\s+/);
    return { pid: Number(pid), parent: Number(parent), state: state.slice(0, 1) };
  });
}

const processes = () => (existsSync('/proc/self/stat') ? fromProc() : fromPs());

/** The process and all that descend from it, itself first; without the dead. */
export function treeOf(root: number): readonly number[] {
  const all = processes().filter(({ state }) => state !== 'Z');
  const tree = all.some(({ pid }) => pid === root) ? [root] : [];
  for (const member of tree) for (const { pid, parent } of all) if (parent === member) tree.push(pid);
  return tree;
}

/** Those of the processes that are alive and not stopped. */
export function runningOf(pids: readonly number[]): readonly number[] {
  return processes()
    .filter(({ pid, state }) => pids.includes(pid) && !['T', 't', 'Z', 'X'].includes(state))
    .map(({ pid }) => pid);
}

/** Those of the processes that are alive, stopped or not. */
export function aliveOf(pids: readonly number[]): readonly number[] {
  return processes()
    .filter(({ pid, state }) => pids.includes(pid) && state !== 'Z' && state !== 'X')
    .map(({ pid }) => pid);
}

/** Sends a signal to each of them; those that are gone are passed over. */
export function signal(pids: readonly number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
    }
  }
}
