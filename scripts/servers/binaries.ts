import { execFileSync } from 'node:child_process';
import { accessSync, constants, readdirSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Identity } from './server-process.ts';

/** Debian puts the programs of each PostgreSQL release into a folder of its own that is on no PATH. */
const POSTGRES_HOMES = '/usr/lib/postgresql';
/** Administrators' programs, which an ordinary user's PATH lacks. */
const MORE = ['/usr/sbin', '/usr/local/sbin', '/sbin', '/opt/homebrew/bin'];

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The full path of a program on PATH or where administrators' programs are. */
export function findProgram(name: string): string {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...MORE];
  const found = folders.map((folder) => join(folder, name)).find(isProgram);
  if (found === undefined) throw new Error(`${name} is not installed`);
  return found;
}

function postgresHomes(): readonly string[] {
  try {
    return readdirSync(POSTGRES_HOMES)
      .sort((a, b) => Number(b) - Number(a))
      .map((version) => join(POSTGRES_HOMES, version, 'bin'));
  } catch {
    return [];
  }
}

/** A server program of PostgreSQL (`postgres`, `initdb`), of the newest release installed. */
export function findPostgresProgram(name: string): string {
  const found = postgresHomes()
    .map((folder) => join(folder, name))
    .find(isProgram);
  return found ?? findProgram(name);
}

/** PostgreSQL's major release, for instance 15. */
export function postgresRelease(): number {
  const said = execFileSync(findPostgresProgram('postgres'), ['--version'], { encoding: 'utf8' });
  const release = / (\d+)/.exec(said)?.[1];
  if (release === undefined) throw new Error(`postgres --version says ${said.trim()}`);
  return Number(release);
}

/**
 * Whom servers run as that refuse to be root: `postgres` or `nobody` where we are root, otherwise nobody else
 * (undefined).
 */
export function unprivileged(): Identity | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const people = new Map(
    readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .map((line) => line.split(':'))
      .map(([name = '', , uid, gid]) => [name, { uid: Number(uid), gid: Number(gid) }] as const),
  );
  const found = people.get('postgres') ?? people.get('nobody');
  if (found === undefined) throw new Error('there is neither a user postgres nor nobody to run PostgreSQL as');
  return found;
}
