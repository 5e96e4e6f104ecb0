import type { EventDraft } from '../../domain/audit-event.ts';
import type {
  AuditLog,
  BufferStatus,
  ChainHeader,
  ChainRow,
  Checkpoint,
  CheckpointKey,
  EventFilter,
  StoredEvent,
  Verdict,
} from '../../ports/audit.ts';

/** What both files of the worker thread agree on: the audit file, and the keys that seal personal fields. */

/** A person's pseudonym and data key. Destroying the row makes their personal fields unreadable and breaks no hash. */
export interface SubjectKey {
  readonly realm: string;
  readonly subject: string;
  /** Random, 26 characters of base32. */
  readonly ref: string;
  /** AES-256 key in the clear; it lives in the worker thread only. */
  readonly key: Uint8Array;
}

/** Kept in the state database, sealed under the key ring. Synchronous: it runs beside SQLite. */
export interface SubjectKeys {
  /** Finds or makes; a new one is part of the unit that is open. `isNew` until that unit is committed. */
  of(realm: string, subject: string): SubjectKey & { readonly isNew: boolean };
  findByRef(ref: string): SubjectKey | undefined;
  find(realm: string, subject: string): SubjectKey | undefined;
  /** All that are known of a person, where there can be several; absent where there is one at most. */
  all?(realm: string, subject: string): readonly SubjectKey[];
  /** Stores a key that a crash took from the state database but that events already use; never that of an erased person. */
  restore(key: SubjectKey): void;
}

export interface AuditPosition {
  /** Order of durability over all chains of the volume, from 1. */
  readonly position: number;
  readonly chainId: string;
  readonly sequence: number;
}

/**
 * The hash-chained file. Synchronous, one writer, WAL with synchronous=FULL. The worker stages the events of all units
 * that share a commit, commits here first, then commits the state: so no state is ever without its event.
 */
export interface AuditFile {
  /** Seals, numbers and chains the events inside the open batch. Throws Fault(unavailable, AUDIT_UNAVAILABLE) when the bound or the disk is reached; then nothing of this call is staged. */
  stage(events: readonly EventDraft[]): void;
  /** Makes the batch durable. On a throw the batch is rolled back, in memory too. Without staged events it does nothing. */
  commit(): AuditPosition;
  rollback(): void;
  /** The last durable position. */
  head(): AuditPosition;
  /** Positions after `after` whose events claim an effect; for telling which were not confirmed by the state database after a crash. */
  eventIdsAfter(
    after: number,
    upTo?: number,
  ): readonly {
    readonly position: number;
    readonly id: string;
    readonly type: string;
    readonly realm: string;
    readonly correlationId: string;
  }[];
  /** Signs the head if it moved since the last checkpoint. */
  checkpoint(now: number): void;
  query(filter: EventFilter, limit: number, before?: number): readonly (StoredEvent & { readonly position: number })[];
  after(filter: EventFilter, position: number, limit: number): readonly (StoredEvent & { readonly position: number })[];
  /** Checks the whole chain, or all for ''. Takes about 10 µs per row; `verifying` lets others in between. */
  verify(chainId: string): Verdict;
  /** The same in small steps, for a thread that also writes: each `next` checks some hundred rows. */
  verifying(chainId: string): Generator<void, Verdict>;
  /** Keys that came with events and that the state database may have lost in a crash. */
  stashedKeys(): readonly SubjectKey[];
  /** The state database has them now. They leave this file with the next batch, at no cost of their own. */
  dropStashedKeys(): void;
  /** Of persons who were erased: their keys leave this file with the next batch, and no event brings one of them back. */
  forgetKeys(refs: readonly string[]): void;
  /** Nothing that was deleted is left behind in the write-ahead log; false while others read the file, to be tried again. */
  scrub(): boolean;
  exportPage: (...args: Parameters<AuditLog['exportPage']>) => Awaited<ReturnType<AuditLog['exportPage']>>;
  status(): BufferStatus;
  close(): void;
}

/** The end of a chain, as one of two places knows it. `sequence` 0 and an empty hash for no rows. */
export interface ChainHead {
  readonly chainId: string;
  readonly sequence: number;
  readonly hash: Uint8Array;
}

/** How far central storage has a chain; `sequence` 0 for no rows, `anchored` 0 for no checkpoint. */
export interface FlushedThrough extends ChainHead {
  /** The last checkpoint that is there. */
  readonly anchored: number;
}

/** Positions of the present chain that are central; `through` is one less than `from` where none is. */
export interface FlushedPositions {
  readonly from: number;
  readonly through: number;
}

/**
 * What central storage says of the local chain. `agrees`; `rolled-back`: central storage has more, so an older copy of the
 * file was put in place; `forked`: another row under the same number; `central-behind`: central storage has lost rows that
 * it had confirmed and that have left the file.
 */
export type Agreement = 'agrees' | 'rolled-back' | 'forked' | 'central-behind';

/** The file of a sidecar whose events leave for central storage. */
export interface FlushedFile extends AuditFile {
  chainHead(): ChainHead;
  /** At most `limit` of the rows that wait, from this number on; 0 for the oldest. */
  waitingRows(from: number, limit: number): readonly ChainRow[];
  /** How many keys wait here for central storage. */
  readonly keysWaiting: number;
  /** undefined for a key that does not wait here. */
  stashedKey(ref: string): SubjectKey | undefined;
  /** All that goes with these rows, but for keys of persons. */
  backlogOf(rows: readonly ChainRow[]): Omit<Backlog, 'subjectKeys'>;
  /**
   * Central storage has everything up to these rows and checkpoints, and these keys. Durable when it returns; answers what
   * it has of the present chain. Throws Fault(data-loss, INTEGRITY) when such a row is not the one that is here.
   */
  noteFlushed(through: readonly FlushedThrough[], refs: readonly string[]): FlushedPositions;
  /** Deletes at most `limit` flushed rows, none after position `keepAfter`; false when there was nothing to delete. */
  release(limit: number, keepAfter: number): boolean;
  /** What central storage knows of the present chain. Where that says that this file is not the one that wrote it, the file is set aside and a linked chain begins. */
  agree(central: ChainHead): Agreement;
}

/** Events whose effect takes place elsewhere: they are durable first, then the effect, then the word how it ended. */
export interface EventsTaken {
  /** The effect is durable. */
  confirm(): void;
  /** The effect did not happen, or nobody knows: says so in an `audit.unconfirmed` event. Never rejects; retried until it is durable. */
  revoke(): Promise<void>;
}

/** The trail as units of a database of its own see it. */
export interface EventCommit {
  /**
   * Resolves when the events are durable as the mode of the trail demands: on the local disk, or in central storage too.
   * Rejects with Fault(unavailable, AUDIT_UNAVAILABLE); then none of them stands, or an `audit.unconfirmed` names them.
   */
  take(events: readonly EventDraft[]): Promise<EventsTaken>;
}

/**
 * The key of a person as it leaves for central storage: the 32 bytes sealed under the key ring with the binding
 * `{ purpose: 'subject.key', realm, subject, id: ref }`. The subject is '' for what a realm's unknown people send; their
 * events carry no pseudonym, so each key of theirs is to be tried.
 */
export interface SealedSubjectKey {
  readonly realm: string;
  readonly subject: string;
  readonly ref: string;
  readonly sealed: Uint8Array;
}

/** What waits in the local file for central storage, oldest first. */
export interface Backlog {
  /** The chains that `rows` and `checkpoints` belong to. */
  readonly chains: readonly ChainHeader[];
  readonly keys: readonly CheckpointKey[];
  readonly rows: readonly ChainRow[];
  readonly checkpoints: readonly Checkpoint[];
  /** Keys of persons that central storage may not have yet; to be stored before the rows. */
  readonly subjectKeys: readonly SealedSubjectKey[];
  /** What waits in all, this included. `oldestAt` is the time of the oldest event, 0 when nothing waits. */
  readonly waiting: { readonly events: number; readonly bytes: number; readonly oldestAt: number };
}

/** The local file as the flush sees it. */
export interface FlushSource {
  /** At most `limit` rows. Empty `rows` and `checkpoints` mean that all is flushed. */
  backlog(limit: number): Promise<Backlog>;
  /**
   * Central storage has committed this backlog: its rows may leave the local file, its checkpoints are anchored. Resolves
   * when the file has noted that. What is noted twice, or lost by a crash and sent again, does no harm: a checkpoint may
   * come again with another time and signature for the same (chain, sequence, key).
   */
  flushed(backlog: Pick<Backlog, 'rows' | 'checkpoints' | 'subjectKeys'>): Promise<void>;
}

/** Central storage as the flush sees it. */
export interface FlushTarget {
  /**
   * Idempotent by (chain, sequence). `clash` names the first row that is there already with another hash: somebody writes
   * the same chain twice or changed a row, and nothing of the backlog was stored. Rejects with Fault(unavailable).
   */
  store(
    backlog: Backlog,
  ): Promise<
    { readonly outcome: 'stored' } | { readonly outcome: 'clash'; readonly chainId: string; readonly sequence: number }
  >;
  /** The last sequence of the chain that is there, 0 for none, with its hash. */
  head(chainId: string): Promise<{ readonly sequence: number; readonly hash: Uint8Array }>;
}

/** Where the keys of persons are made and found in shared mode. */
export interface CentralSubjectKeys {
  /** Finds or makes. Rejects with Fault(unavailable). */
  of(realm: string, subject: string): Promise<SubjectKey>;
  /** Keys that still exist, by pseudonym. */
  findByRefs(refs: readonly string[]): Promise<ReadonlyMap<string, SubjectKey>>;
  /** All pseudonyms of a person: one, or more where keys were made while the database was away. */
  refsOf(realm: string, subject: string): Promise<readonly string[]>;
  /** Those of erased persons that came there all the same. */
  destroy(refs: readonly string[]): Promise<void>;
}
