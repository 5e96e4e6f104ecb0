import { Worker } from 'node:worker_threads';
import type { KeyRingData } from '#src/adapters/secrets/key-ring.ts';
import type { DurationMs } from '#src/domain/time.ts';
import type { AuditLog, EventTally } from '#src/ports/audit.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { LOCAL_METHODS, type LocalPorts, type WorkerSettings } from './protocol.ts';
import { WorkerChannel } from './worker-channel.ts';

export interface LocalStorageOptions {
  /** Made with mode 0700 if there is none. On a local file system, for this process alone. */
  readonly directory: string;
  readonly keyRing: KeyRingData;
  /** Size of the audit file at which nothing more is granted, in bytes. */
  readonly maxAuditBytes: number;
  /** How often the head of the audit chain is signed, if it moved; 10 s if absent. */
  readonly checkpointMs?: DurationMs;
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

/** The stores and the trail on local files. Their calls reject with Fault(unavailable) when the files cannot serve. */
export interface LocalStorage extends Omit<LocalPorts, 'audit'>, AsyncDisposable {
  readonly audit: AuditLog;
}

/** Small, since the queue in front is bounded: what would need more is a defect. */
const RESOURCES = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 8, stackSizeMb: 4 };

const WORKER_URL = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './local-worker.mjs', import.meta.url);

/**
 * Starts the thread that owns state.db and audit.db, and waits until it serves. Rejects with a Fault that says what to
 * do when the directory is in use, damaged, of a newer version, or sealed under another key ring.
 */
export async function openLocalStorage(options: LocalStorageOptions): Promise<LocalStorage> {
  const settings: WorkerSettings = {
    directory: options.directory,
    keyRing: options.keyRing,
    maxAuditBytes: options.maxAuditBytes,
    checkpointMs: options.checkpointMs ?? 10_000,
    maxBatch: options.maxBatch ?? 256,
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
    challenges: remote(channel, 'challenges'),
    attempts: remote(channel, 'attempts'),
    factors: remote(channel, 'factors'),
    sessions: remote(channel, 'sessions'),
    signingKeys: remote(channel, 'signingKeys'),
    audit: {
      ...remote(channel, 'audit'),
      onAppend: (listener) => {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    },
    [Symbol.asyncDispose]: () => channel.close(),
  };
}

/** A port whose every method is a call into the worker. */
function remote<P extends keyof LocalPorts>(channel: WorkerChannel, port: P): LocalPorts[P] {
  const methods = Object.keys(LOCAL_METHODS[port]).map((method) => [
    method,
    (...args: readonly unknown[]) => channel.call(port, method, args),
  ]);
  return Object.fromEntries(methods) as LocalPorts[P];
}
