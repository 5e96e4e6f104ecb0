import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import type { WorkerSettings } from '#src/adapters/local/protocol.ts';
import { WorkerServer } from '#src/adapters/local/worker-server.ts';

/**
 * The storage worker on a disk that hangs in each commit of the trail: it makes a file `hanging` beside the data directory,
 * and goes on once there is one named `well`.
 */
const settings = workerData as WorkerSettings;
const beside = (name: string) => join(settings.directory, '..', name);
if (!parentPort) throw new Error('this file runs as a worker thread only');
void new WorkerServer(parentPort).start(settings, {
  onAuditCommitted: () => {
    writeFileSync(beside('hanging'), '');
    while (!existsSync(beside('well'))) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
  },
});
