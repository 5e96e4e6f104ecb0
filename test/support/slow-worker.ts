import { parentPort, workerData } from 'node:worker_threads';
import type { WorkerSettings } from '#src/adapters/local/protocol.ts';
import { WorkerServer } from '#src/adapters/local/worker-server.ts';

/** The storage worker on a disk that takes 400 ms for each commit of the trail. */
if (!parentPort) throw new Error('this file runs as a worker thread only');
void new WorkerServer(parentPort).start(workerData as WorkerSettings, {
  onAuditCommitted: () => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400);
  },
});
