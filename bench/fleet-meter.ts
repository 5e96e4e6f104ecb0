import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { DATABASE, ROLES } from '../scripts/servers/central-database.ts';
import { treeOf } from '../scripts/servers/process-tree.ts';
import type { Sidecar } from './sidecar.ts';
import type { Stores } from './stores.ts';

/** What a fleet costs, as counted by the servers and the kernel; all but connections and memory grow for ever. */
export interface Reading {
  readonly postgresConnections: number;
  readonly postgresStatements: number;
  readonly postgresRows: number;
  readonly postgresBytes: number;
  /** Milliseconds of processor time. */
  readonly postgresCpu: number;
  readonly redisConnections: number;
  readonly redisCommands: number;
  readonly redisBytes: number;
  readonly redisCpu: number;
  readonly sidecarCpu: number;
  /** MiB. */
  readonly sidecarMemory: number;
}

/** For Stores: the server counts statements only then. */
export const METERED = {
  shared_preload_libraries: 'pg_stat_statements',
  'pg_stat_statements.max': '1000',
  max_connections: '200',
};
const MS_PER_TICK = 10;

export async function prepareMeter({ postgres }: Stores): Promise<void> {
  await postgres.query('CREATE EXTENSION IF NOT EXISTS pg_stat_statements', [], DATABASE);
}

export async function readMeter(stores: Stores, sidecars: readonly Sidecar[]): Promise<Reading> {
  const { postgres, redis } = stores;
  const [counted] = await postgres.query<Record<'connections' | 'statements' | 'rows', string>>(
    `SELECT (SELECT count(*) FROM pg_stat_activity WHERE usename = $1) AS connections, sum(calls) AS statements,
       sum(rows) AS rows
     FROM pg_stat_statements JOIN pg_roles ON pg_roles.oid = userid WHERE rolname = $1`,
    [ROLES.state],
    DATABASE,
  );
  const said = await redis.cli('INFO', 'all');
  const info = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(said)?.[1]);
  const pids = sidecars.map(({ pid }) => pid);
  return {
    postgresConnections: Number(counted?.connections),
    postgresStatements: Number(counted?.statements),
    postgresRows: Number(counted?.rows),
    postgresBytes: socketBytes(postgres.port),
    postgresCpu: cpuMs(treeOf(postgres.pid)),
    // Without the one that asks.
    redisConnections: info('connected_clients') - 1,
    redisCommands: info('total_commands_processed'),
    redisBytes: info('total_net_input_bytes') + info('total_net_output_bytes'),
    redisCpu: (info('used_cpu_sys') + info('used_cpu_user')) * 1000,
    sidecarCpu: cpuMs(pids),
    sidecarMemory: pids.reduce((sum, pid) => sum + memoryMiB(pid), 0),
  };
}

function cpuMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    // After the name, which may hold anything: state, ppid …; from the 12th on utime, stime, and those of children that
    // have ended.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
    return fields.slice(11, 15).reduce((all, ticks) => all + Number(ticks) * MS_PER_TICK, sum);
  }, 0);
}

function memoryMiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** Both ways over the open connections of a server's port; NaN where the system has no `ss`. */
function socketBytes(port: number): number {
  try {
    const said = execFileSync('ss', ['-tniH', 'sport', '=', `:${port}`], { encoding: 'utf8' });
    const all = [...said.matchAll(/bytes_(?:acked|received):(\d+)/g)];
    return all.reduce((sum, [, bytes]) => sum + Number(bytes), 0);
  } catch {
    return Number.NaN;
  }
}
