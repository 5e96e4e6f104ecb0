import type { AuditLog } from '#src/ports/audit.ts';
import type { LocalPorts } from './protocol.ts';
import { remote, startWorker, type WorkerOptions } from './start-worker.ts';

export type LocalStorageOptions = WorkerOptions;

/** The stores and the trail on local files. Their calls reject with Fault(unavailable) when the files cannot serve. */
export interface LocalStorage extends Omit<LocalPorts, 'audit'>, AsyncDisposable {
  readonly audit: AuditLog;
}

/**
 * Starts the thread that owns state.db and audit.db, and waits until it serves. Rejects with a Fault that says what to
 * do when the directory is in use, damaged, of a newer version, or sealed under another key ring.
 */
export async function openLocalStorage(options: LocalStorageOptions): Promise<LocalStorage> {
  const { channel, onAppend } = await startWorker(options);
  return {
    challenges: remote(channel, 'challenges'),
    sessions: remote(channel, 'sessions'),
    attempts: remote(channel, 'attempts'),
    factors: remote(channel, 'factors'),
    signingKeys: remote(channel, 'signingKeys'),
    codes: remote(channel, 'codes'),
    ledger: remote(channel, 'ledger'),
    devices: remote(channel, 'devices'),
    consents: remote(channel, 'consents'),
    subjects: remote(channel, 'subjects'),
    records: remote(channel, 'records'),
    notices: remote(channel, 'notices'),
    pushKeys: remote(channel, 'pushKeys'),
    audit: { ...remote(channel, 'audit'), onAppend },
    [Symbol.asyncDispose]: () => channel.close(),
  };
}
