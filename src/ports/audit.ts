import type { EventDraft, EventOutcome, EventType } from '../domain/audit-event.ts';
import type { Method } from '../domain/method.ts';
import type { EpochMs } from '../domain/time.ts';

/** An event as read back. Personal fields are '' once the person is erased. */
export interface StoredEvent {
  readonly id: string;
  readonly type: string;
  readonly at: EpochMs;
  readonly realm: string;
  readonly subject: string;
  readonly subjectRef: string;
  readonly outcome: EventOutcome;
  readonly reason: string;
  readonly caller: string;
  readonly correlationId: string;
  readonly challengeId: string;
  readonly sessionId: string;
  readonly factorId: string;
  readonly method?: Method;
  readonly actionDigest: string;
  readonly count: number;
  readonly ipAddress: string;
  readonly userAgent: string;
  readonly facts: readonly { readonly key: string; readonly value: string }[];
  readonly chainId: string;
  readonly sequence: number;
  readonly hash: Uint8Array;
}

export interface EventFilter {
  readonly realm?: string;
  readonly subject?: string;
  /** Exact, or a prefix with a trailing `*`. */
  readonly types?: readonly string[];
  readonly from?: EpochMs;
  readonly until?: EpochMs;
  readonly outcome?: EventOutcome;
  readonly challengeId?: string;
  readonly sessionId?: string;
}

/** Where an event is: order of durability in this buffer, over all chains of the volume. */
export type EventPosition = number;

export interface BufferStatus {
  readonly chainId: string;
  readonly accepted: number;
  readonly durableSequence: number;
  readonly flushedSequence: number;
  readonly anchoredSequence: number;
  /** What is in use of the file; room that flushed events left behind does not count. */
  readonly bytes: number;
  readonly maxBytes: number;
  /** False at either bound and while the disk fails. */
  readonly writable: boolean;
  /** What waits for central storage; absent where nothing leaves the file. */
  readonly waiting?: {
    readonly events: number;
    readonly bytes: number;
    /** Of the oldest event, in milliseconds; 0 when nothing waits. */
    readonly ageMs: number;
    /** Age at which nothing is granted any more. */
    readonly maxAgeMs: number;
  };
}

export type ChainFault =
  | 'EDITED'
  | 'MISSING'
  | 'REORDERED'
  | 'TRUNCATED'
  | 'FORKED'
  | 'SIGNATURE'
  | 'UNREADABLE'
  | 'LINK';

export type Verdict =
  | { readonly intact: true; readonly rows: number; readonly checkpoints: number }
  | {
      readonly intact: false;
      readonly rows: number;
      readonly checkpoints: number;
      readonly fault: ChainFault;
      readonly chainId: string;
      readonly sequence: number;
      readonly detail: string;
    };

export interface ChainHeader {
  readonly chainId: string;
  readonly parentChainId: string;
  readonly parentHeadHash: Uint8Array;
  readonly beginReason: string;
}

export interface ChainRow {
  readonly chainId: string;
  readonly sequence: number;
  readonly previousHash: Uint8Array;
  /** Canonical bytes of sallyport.v1.AuditRecord. */
  readonly record: Uint8Array;
  readonly hash: Uint8Array;
}

export interface Checkpoint {
  readonly chainId: string;
  readonly sequence: number;
  readonly headHash: Uint8Array;
  readonly signedAt: EpochMs;
  readonly keyId: string;
  readonly signature: Uint8Array;
}

export interface CheckpointKey {
  readonly keyId: string;
  /** Ed25519, raw 32 bytes. */
  readonly publicKey: Uint8Array;
}

export type ExportItem =
  | { readonly kind: 'chain'; readonly chain: ChainHeader }
  | { readonly kind: 'row'; readonly row: ChainRow }
  | { readonly kind: 'checkpoint'; readonly checkpoint: Checkpoint }
  | { readonly kind: 'key'; readonly key: CheckpointKey };

/** How many events of one type and outcome. */
export interface EventTally {
  readonly type: EventType;
  readonly outcome: EventOutcome;
  readonly count: number;
}

/** The trail. Writing: only appending. */
export interface AuditLog {
  /** Resolves when every event is durable on disk (synchronous=FULL). Rejects with Fault(unavailable, AUDIT_UNAVAILABLE). */
  append(events: readonly EventDraft[]): Promise<void>;
  /** Newest first; `before` is exclusive. */
  query(
    filter: EventFilter,
    limit: number,
    before?: EventPosition,
  ): Promise<readonly (StoredEvent & { readonly position: EventPosition })[]>;
  /** Oldest first, after `position`; for following. */
  after(
    filter: EventFilter,
    position: EventPosition,
    limit: number,
  ): Promise<readonly (StoredEvent & { readonly position: EventPosition })[]>;
  /** The newest durable position, 0 when empty. */
  head(): Promise<EventPosition>;
  /** Calls back after durable appends with what has become durable; the disposer unsubscribes. */
  onAppend(listener: (written: readonly EventTally[]) => void): () => void;
  verify(chainId: string): Promise<Verdict>;
  /** A page of the export; `cursor` '' begins, an undefined `next` ends. */
  exportPage(
    range: { readonly chainId: string; readonly from: number; readonly to: number },
    cursor: string,
  ): Promise<{ readonly items: readonly ExportItem[]; readonly next?: string }>;
  status(): Promise<BufferStatus>;
}
