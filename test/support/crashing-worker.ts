import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import type { WorkerSettings } from '#src/adapters/local/protocol.ts';
import { WorkerServer } from '#src/adapters/local/worker-server.ts';

/** The storage worker, killed between the two commits once there is a file `crash` beside the data directory. */
const settings = workerData as WorkerSettings;
if (!parentPort) throw new Error('this file runs as a worker thread only');
void new WorkerServer(parentPort).start(settings, {
  onAuditCommitted: () => {
    if (existsSync(join(settings.directory, '..', 'crash'))) process.kill(process.pid, 'SIGKILL');
  },
});
