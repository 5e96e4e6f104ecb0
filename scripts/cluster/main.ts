import { renderBanner } from './banner.ts';
import { type LocalCluster, type Progress, startLocalCluster } from './local-cluster.ts';
import type { Plan } from './plan.ts';
import { ClusterProblem, shown } from './problem.ts';

const say = (text: string) => process.stderr.write(text);

const progress: Progress = async (what, work) => {
  say(`sallyport: ${what} …`);
  const began = performance.now();
  try {
    const result = await work();
    say(` ${((performance.now() - began) / 1000).toFixed(1)} s\n`);
    return result;
  } catch (error) {
    say(' failed\n');
    throw error;
  }
};

/** Whoever ends by itself is named; the others go on, which is what one may want to see. */
function watch(cluster: LocalCluster, stopping: () => boolean): void {
  for (const { name, process: sidecar, logFile } of cluster.sidecars) {
    void sidecar.exited.then(() => {
      if (!stopping()) say(`sallyport: sidecar ${name} ended; its last words are in ${shown(logFile)}\n`);
    });
  }
}

/** Resolves at the first signal; the second ends us at once, and the guards end what is left. */
function untilSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let seen = 0;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => {
        seen += 1;
        if (seen > 1) process.exit(1);
        resolve(signal);
      });
  });
}

async function main(plan: Plan): Promise<void> {
  let stopping = false;
  const asked = untilSignal().then(() => {
    stopping = true;
    say('\nsallyport: stopping; once more is faster\n');
  });
  const cluster = await startLocalCluster(plan, progress).catch((error: unknown) => {
    // Ctrl-C reaches `migrate` too, which then fails.
    if (!stopping) throw error;
  });
  if (cluster) {
    if (!stopping) {
      watch(cluster, () => stopping);
      process.stdout.write(renderBanner(plan, cluster));
      const awake = setInterval(() => {}, 60_000);
      await asked;
      clearInterval(awake);
    }
    await cluster.stop();
  }
  say(`sallyport: stopped; the data is in ${shown(plan.directory)}\n`);
}

try {
  await main(JSON.parse(process.argv[2] ?? '{}') as Plan);
} catch (error) {
  say(`sallyport: ${error instanceof ClusterProblem ? error.message : error instanceof Error ? error.stack : error}\n`);
  process.exitCode = error instanceof ClusterProblem ? 69 : 70;
}
