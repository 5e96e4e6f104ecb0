import { parentPort, workerData } from 'node:worker_threads';
import type { FromWorker, ToWorker, WorkerSettings } from '#src/adapters/local/protocol.ts';

/** A storage worker that serves nothing: the name of its directory says how it behaves. */
const { directory } = workerData as WorkerSettings;
const port = parentPort;
if (!port) throw new Error('this file runs as a worker thread only');
const post = (message: FromWorker) => port.postMessage(message);

port.on('message', (message: ToWorker) => {
  if (message.kind === 'close' && directory !== 'deaf') {
    post({ kind: 'closed' });
    port.close();
  }
  if (directory === 'crashing') throw new Error('out of luck');
});
if (directory === 'stillborn') throw new Error('no');
if (directory !== 'mute') post({ kind: 'ready' });
