import type { KeyRingData } from '#src/adapters/secrets/key-ring.ts';
import type { PlainStores } from '#src/adapters/sql/stores.ts';
import { Fault, type FaultDetails, type FaultKind, type Reason } from '#src/domain/faults.ts';
import type { AuditLog, EventTally } from '#src/ports/audit.ts';
import type { ChallengeStore } from '#src/ports/challenge-store.ts';
import type { SessionStore } from '#src/ports/session-store.ts';
import type { Log } from '#src/ports/telemetry.ts';
import type { TrailPort } from './trail-port.ts';

/** What crosses between the main thread and the worker that owns the local files. All of it is plain data. */

/** The ports that live in the worker. */
export interface LocalPorts extends PlainStores {
  readonly challenges: ChallengeStore;
  readonly sessions: SessionStore;
  readonly audit: Omit<AuditLog, 'onAppend'>;
}

/** The ports of both modes of the worker: the stores with their trail, or the trail alone. */
export interface WorkerPorts extends LocalPorts {
  readonly trail: TrailPort;
}

type MethodTable = { readonly [P in keyof WorkerPorts]: { readonly [M in keyof WorkerPorts[P]]: true } };

/** Every call that may cross; the compiler keeps it equal to the ports. */
export const PORT_METHODS: MethodTable = {
  challenges: {
    open: true,
    repeatOf: true,
    read: true,
    advance: true,
    noteDelivery: true,
    openOf: true,
    approve: true,
    settle: true,
    burnReceipt: true,
    due: true,
    purge: true,
  },
  attempts: { spend: true, read: true, lock: true, unlock: true },
  factors: {
    begin: true,
    list: true,
    read: true,
    confirm: true,
    remove: true,
    freeze: true,
    thaw: true,
    replaceBackupCodes: true,
    purge: true,
    findBackupCode: true,
  },
  sessions: {
    create: true,
    findByTokenDigest: true,
    read: true,
    list: true,
    touch: true,
    rotate: true,
    setLabels: true,
    noteRisk: true,
    end: true,
    due: true,
    revocationsAfter: true,
    changesAfter: true,
    purge: true,
  },
  signingKeys: { ensure: true, list: true },
  codes: { issue: true, read: true, take: true, purge: true },
  ledger: { reserve: true, credit: true, clear: true, purge: true },
  devices: { trust: true, use: true, list: true, rename: true, revoke: true, purge: true },
  consents: { record: true, withdraw: true, list: true },
  subjects: { reset: true, pass: true, erase: true, known: true, erasuresAfter: true },
  records: { challenges: true, devices: true, notices: true },
  notices: { lease: true, done: true, retry: true },
  pushKeys: { ensure: true, read: true },
  audit: { append: true, query: true, after: true, head: true, verify: true, exportPage: true, status: true },
  trail: {
    take: true,
    confirm: true,
    revoke: true,
    query: true,
    after: true,
    head: true,
    verify: true,
    exportPage: true,
    status: true,
    stashedKeys: true,
    forget: true,
    forgotThrough: true,
    erasedThrough: true,
    backlog: true,
    flushed: true,
    chainHead: true,
    agree: true,
  },
};

export interface Call {
  readonly id: number;
  readonly port: keyof WorkerPorts;
  readonly method: string;
  readonly args: readonly unknown[];
}

export type Answer =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly fault: FaultData };

/** To the worker. `expiresAt` is monotonic (process.hrtime) milliseconds: later than that nobody waits for the calls. */
export type ToWorker =
  | { readonly kind: 'calls'; readonly calls: readonly Call[]; readonly expiresAt: number }
  | { readonly kind: 'close' };

export type FromWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'refused'; readonly fault: FaultData }
  | { readonly kind: 'answers'; readonly answers: readonly Answer[] }
  | { readonly kind: 'appended'; readonly written: readonly EventTally[] }
  | {
      readonly kind: 'log';
      readonly level: keyof Log;
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: 'closed' };

/** What the worker is started with. */
export interface WorkerSettings {
  readonly directory: string;
  readonly keyRing: KeyRingData;
  /** Size of the audit file at which nothing more is granted. */
  readonly maxAuditBytes: number;
  /** How often the head of the audit file is signed, if it moved. */
  readonly checkpointMs: number;
  /** How many units may share one commit. */
  readonly maxBatch: number;
  /** Whether people are told of what was changed: then notices are noted with the changes; not if absent. */
  readonly notices?: boolean;
  /** The trail alone: its events leave for central storage, where the state is. */
  readonly trail?: TrailSettings;
}

export interface TrailSettings {
  /** Age of the oldest waiting event at which nothing more is granted. */
  readonly maxAgeMs: number;
  /** How long events may be without a word how their effect ended. */
  readonly maxOpenMs: number;
  /** How many keys of persons are held in memory. */
  readonly maxKeys: number;
}

export interface FaultData {
  readonly kind: FaultKind;
  readonly reason: Reason;
  readonly message: string;
  readonly details: Omit<FaultDetails, 'cause'>;
  /** For the log. */
  readonly cause: string;
}

/** Anything but a Fault is a defect and becomes an opaque internal one, with the stack for the log. */
export function faultToData(error: unknown): FaultData {
  if (!(error instanceof Fault)) {
    const cause = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { kind: 'internal', reason: 'INTERNAL', message: 'internal error in the local store', details: {}, cause };
  }
  const { kind, reason, message, details } = error;
  const { cause, ...rest } = details;
  return { kind, reason, message, details: rest, cause: cause === undefined ? '' : String(cause) };
}

export function faultFromData({ kind, reason, message, details, cause }: FaultData): Fault {
  return new Fault(kind, reason, message, cause === '' ? details : { ...details, cause: new Error(cause) });
}

/** Milliseconds that are the same in every thread of the process and never go back. */
export function processMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}
