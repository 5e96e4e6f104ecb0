import { Worker } from 'node:worker_threads';
import type { KeyRingData } from '#src/adapters/secrets/key-ring.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { AuditLog, EventTally } from '#src/ports/audit.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { PORT_METHODS, type TrailSettings, type WorkerPorts, type WorkerSettings } from './protocol.ts';
import { WorkerChannel } from './worker-channel.ts';

export interface WorkerOptions {
  /** Made with mode 0700 if there is none. On a local file system, for this process alone. */
  readonly directory: string;
  readonly keyRing: KeyRingData;
  /** Size of the audit file at which nothing more is granted, in bytes. */
  readonly maxAuditBytes: number;
  /** How often the head of the audit chain is signed, if it moved; 10 s if absent. */
  readonly checkpointMs?: DurationMs;
  /** Whether notices are noted for people with what was changed; not if absent. */
  readonly notices?: boolean;
  /** How many calls may share one commit; 256 if absent. */
  readonly maxBatch?: number;
  /** How many calls may be under way; 8192 if absent. */
  readonly maxPending?: number;
  /** How long a call may take; 5 s if absent. */
  readonly timeoutMs?: DurationMs;
  /** How long the start may take, the check of the audit file included; 60 s if absent. */
  readonly startTimeoutMs?: DurationMs;
  readonly log: Log;
  /** The worker is gone and every call fails from now on: the process has to stop. Called at most once. */
  readonly onFatal: (error: Error) => void;
  /** Another entry for the thread. */
  readonly workerUrl?: URL;
}

export interface StartedWorker {
  readonly channel: WorkerChannel;
  readonly onAppend: AuditLog['onAppend'];
}

/** Small, since the queue in front is bounded: what would need more is a defect. */
const RESOURCES = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 8, stackSizeMb: 4 };

const WORKER_URL = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './local-worker.mjs', import.meta.url);

/** Starts the thread that owns the local files and waits until it serves: both files, or with `trail` the trail alone. */
export async function startWorker(options: WorkerOptions, trail?: TrailSettings): Promise<StartedWorker> {
  const settings: WorkerSettings = {
    directory: options.directory,
    keyRing: options.keyRing,
    maxAuditBytes: options.maxAuditBytes,
    checkpointMs: options.checkpointMs ?? 10_000,
    maxBatch: options.maxBatch ?? 256,
    notices: options.notices ?? false,
    ...(trail && { trail }),
  };
  const worker = new Worker(options.workerUrl ?? WORKER_URL, {
    name: 'sallyport-local',
    workerData: settings,
    resourceLimits: RESOURCES,
  });
  const listeners = new Set<(written: readonly EventTally[]) => void>();
  const channel = new WorkerChannel({
    worker,
    log: options.log,
    timeoutMs: options.timeoutMs ?? 5_000,
    maxPending: options.maxPending ?? 8_192,
    onFatal: options.onFatal,
    onAppend: (written) => {
      for (const listener of listeners) listener(written);
    },
  });
  try {
    await channel.started(options.startTimeoutMs ?? 60_000);
  } catch (error) {
    await channel.close();
    throw error;
  }
  return {
    channel,
    onAppend: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

/** A port whose every method is a call into the worker. */
export function remote<P extends keyof WorkerPorts>(channel: WorkerChannel, port: P): WorkerPorts[P] {
  const methods = Object.keys(PORT_METHODS[port]).map((method) => [
    method,
    (...args: readonly unknown[]) => channel.call(port, method, args),
  ]);
  return Object.fromEntries(methods) as WorkerPorts[P];
}
