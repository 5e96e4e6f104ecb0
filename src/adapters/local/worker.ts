import { parentPort, workerData } from 'node:worker_threads';
import type { WorkerSettings } from './protocol.ts';
import { WorkerServer } from './worker-server.ts';

/** Entry of the thread that owns the local files. */
if (!parentPort) throw new Error('this file runs as a worker thread only');
void new WorkerServer(parentPort).start(workerData as WorkerSettings);
