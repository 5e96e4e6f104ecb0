import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import type { WorkerSettings } from '#src/adapters/local/protocol.ts';
import { WorkerServer } from '#src/adapters/local/worker-server.ts';

/**
 * The worker of a trail, killed in the third step in which rows leave the file once there is a file `crash` beside it. What
 * the next start would know of the trail stands in a file `marked`.
 */
const settings = workerData as WorkerSettings;
const marked = join(settings.directory, '..', 'marked');
let steps = 0;
if (!parentPort) throw new Error('this file runs as a worker thread only');
void new WorkerServer(parentPort).start(settings, {
  onReleased: () => {
    steps += 1;
    if (steps === 3 && existsSync(join(settings.directory, '..', 'crash'))) process.kill(process.pid, 'SIGKILL');
  },
  onMarked: (saved) => {
    writeFileSync(`${marked}.new`, JSON.stringify(saved ?? {}));
    renameSync(`${marked}.new`, marked);
  },
});
