import type { EventDraft } from '../../domain/audit-event.ts';
import type { AuditLog, BufferStatus, EventFilter, StoredEvent, Verdict } from '../../ports/audit.ts';

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
  /** Stores a key that a crash took from the state database but that events already use. */
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
  eventIdsAfter(after: number): readonly {
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
  exportPage: (...args: Parameters<AuditLog['exportPage']>) => Awaited<ReturnType<AuditLog['exportPage']>>;
  status(): BufferStatus;
  close(): void;
}
