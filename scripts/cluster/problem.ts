import { accessSync, constants, statSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { isFree } from '../servers/free-port.ts';
import type { Identity } from '../servers/server-process.ts';
import type { Place, Plan } from './plan.ts';

/** What keeps the cluster from running, as one sentence and the line that helps. */
export class ClusterProblem extends Error {
  override readonly name = 'ClusterProblem';
}

/** As a person would type it. */
export const shown = (path: string) => {
  const short = relative(process.cwd(), path);
  return short === '' || short.startsWith('..') ? path : `./${short}`;
};

/** @throws ClusterProblem if a port of the sidecars is taken. */
export async function requirePorts(plan: Plan, places: readonly Place[]): Promise<void> {
  for (const { name, ports } of places) {
    for (const [what, port] of Object.entries(ports)) {
      if (await isFree(port)) continue;
      throw new ClusterProblem(
        `port ${port} (${what} of sidecar ${name}) is taken. End what listens there, or use others: npm run cluster -- --port-offset ${plan.portOffset + 1_000}`,
      );
    }
  }
}

/** PostgreSQL refuses to be root, so whoever it runs as has to reach the folder. */
export function requireReach(directory: string, identity: Identity | undefined): void {
  if (identity === undefined) return;
  for (let folder = dirname(directory); ; folder = dirname(folder)) {
    const { mode, uid } = statSync(folder);
    const enters = uid === identity.uid ? mode & 0o100 : mode & 0o001;
    if (enters === 0)
      throw new ClusterProblem(
        `PostgreSQL does not run as root, and the user it runs as may not enter ${folder}. Keep the data elsewhere: npm run cluster -- --dir /var/tmp/sallyport-cluster`,
      );
    if (folder === dirname(folder)) return;
  }
}

export function requireWritable(directory: string): void {
  try {
    accessSync(directory, constants.W_OK | constants.X_OK);
  } catch {
    throw new ClusterProblem(
      `${shown(directory)} cannot be written. Give it to yourself, or keep the data elsewhere: npm run cluster -- --dir /var/tmp/sallyport-cluster`,
    );
  }
}
