import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadOrCreateKeyRing } from '#src/adapters/secrets/key-ring-file.ts';
import { loadOrCreateOperatorToken } from '#src/adapters/secrets/operator-token-file.ts';
import { systemRandom } from '#src/adapters/system.ts';
import { unprivileged } from '../servers/binaries.ts';
import { makeCentralDatabase, migrate } from '../servers/central-database.ts';
import type { PostgresServer } from '../servers/postgres.ts';
import { ServerProcess, until } from '../servers/server-process.ts';
import { type Place, type Plan, placesOf } from './plan.ts';
import { ClusterProblem, requirePorts, requireReach, requireWritable, shown } from './problem.ts';
import { writeSettings } from './settings.ts';
import { type OpenRedis, openPostgres, openRedis } from './stores.ts';

const PROGRAM = fileURLToPath(new URL('../../dist/main.mjs', import.meta.url));
/** More than a sidecar takes for its grace. */
const STOP_LIMIT_MS = 20_000;

export interface RunningSidecar extends Place {
  readonly process: ServerProcess;
  readonly logFile: string;
}

/** Tells a person what is being done, and how long it took. */
export type Progress = <T>(what: string, work: () => Promise<T>) => Promise<T>;

/** PostgreSQL, Redis and sidecars that run on this machine. */
export interface LocalCluster {
  readonly postgres: PostgresServer;
  readonly redis: OpenRedis | undefined;
  readonly sidecars: readonly RunningSidecar[];
  readonly operatorTokenFile: string;
  /** Sidecars first, which end their calls, then Redis, then PostgreSQL. */
  stop(): Promise<void>;
}

/** @throws ClusterProblem with what to tell the person; everything that was started is stopped then. */
export async function startLocalCluster(plan: Plan, progress: Progress): Promise<LocalCluster> {
  const places = placesOf(plan);
  await requirePorts(plan, places);
  prepareDirectory(plan);
  await using stack = new AsyncDisposableStack();
  const postgres = await progress('PostgreSQL', () => openPostgres(plan));
  stack.defer(() => postgres.stop());
  const redis = plan.redis === 'off' ? undefined : await progress(`Redis (${plan.redis})`, () => openRedis(plan));
  if (redis) stack.use(redis);
  await progress('sallyport migrate', async () => {
    await makeCentralDatabase(postgres);
    await migrate({ postgres, directory: plan.directory });
  });
  const operatorTokenFile = join(plan.directory, 'operator.token');
  await loadOrCreateOperatorToken(operatorTokenFile, systemRandom);
  await loadOrCreateKeyRing(join(plan.directory, 'keys.json'), systemRandom);
  const settings = writeSettings(plan, places, postgres, redis?.access);
  const sidecars: RunningSidecar[] = [];
  stack.defer(async () => {
    await Promise.all(sidecars.map(({ process }) => process.stop('SIGTERM', STOP_LIMIT_MS)));
  });
  for (const [index, place] of places.entries()) {
    await progress(`sidecar ${place.name}`, async () => {
      const sidecar = await launch(place, settings[index] ?? '');
      sidecars.push(sidecar);
      await ready(sidecar);
    });
  }
  const owned = stack.move();
  return { postgres, redis, sidecars, operatorTokenFile, stop: () => owned.disposeAsync() };
}

function prepareDirectory({ directory, fresh, sidecars }: Plan): void {
  const identity = unprivileged();
  // Only the last one is ours to close.
  mkdirSync(dirname(directory), { recursive: true });
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  requireWritable(directory);
  requireReach(directory, identity);
  // Whoever runs PostgreSQL for root has to get through to its own folder; what else is here is closed by itself.
  if (identity !== undefined) chmodSync(directory, 0o711);
  if (!fresh) return;
  const places = placesOf({ redis: 'off', portOffset: 0, fresh, directory, sidecars: Math.max(sidecars, 9) });
  const ours = ['postgres', 'keys.json', 'operator.token'].map((name) => join(directory, name));
  for (const path of [...ours, ...places.map((place) => place.directory)])
    rmSync(path, { recursive: true, force: true });
}

async function launch(place: Place, settings: string): Promise<RunningSidecar> {
  const logFile = join(place.directory, 'sidecar.log');
  const process = await ServerProcess.start({
    command: globalThis.process.execPath,
    args: [PROGRAM, 'serve', '-c', settings],
    directory: place.directory,
    logFile,
  });
  return { ...place, process, logFile };
}

async function ready({ name, ports, process, logFile }: RunningSidecar): Promise<void> {
  const ask = async () => {
    const answer = await fetch(`http://127.0.0.1:${ports.admin}/readyz`, { signal: AbortSignal.timeout(2_000) });
    return answer.ok ? true : undefined;
  };
  try {
    await until(`sidecar ${name}`, ask, { server: process, stepMs: 25, limitMs: 30_000 });
  } catch {
    const said = process.log.trim().split('\n').slice(-5).join('\n  ');
    throw new ClusterProblem(`sidecar ${name} did not get ready. It said (${shown(logFile)}):\n  ${said}`);
  }
}
