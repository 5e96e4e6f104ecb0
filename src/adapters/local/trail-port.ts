import type { Agreement, Backlog, ChainHead, FlushedPositions, SubjectKey } from '#src/adapters/audit/contract.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import type { AuditLog, EventFilter, EventPosition, StoredEvent } from '#src/ports/audit.ts';
import type { TrailKey } from './trail-keys.ts';

export type Positioned = StoredEvent & { readonly position: EventPosition };

/** What the flush has brought to central storage. */
export interface Flushed {
  /** The last row of each chain. */
  readonly through: readonly ChainHead[];
  /** The last checkpoint of each chain. */
  readonly anchored: readonly { readonly chainId: string; readonly sequence: number }[];
  readonly refs: readonly string[];
}

/** What the worker serves where it owns the trail alone, without the state. */
export interface TrailPort extends Pick<AuditLog, 'head' | 'verify' | 'exportPage' | 'status'> {
  /**
   * Makes events durable; answers the position of the last. `token`, if not 0, names them until they are confirmed or
   * revoked. `keys` are those of all persons they tell of.
   */
  take(events: readonly EventDraft[], keys: readonly TrailKey[], token: number): Promise<EventPosition>;
  confirm(tokens: readonly number[]): Promise<void>;
  /** Resolves when the trail says that what these events claim is not certain. Unknown tokens were settled before. */
  revoke(tokens: readonly number[]): Promise<void>;
  /** With `keys`, the personal fields of those persons can be read. */
  query(
    filter: EventFilter,
    limit: number,
    before: EventPosition | undefined,
    keys: readonly SubjectKey[],
  ): Promise<readonly Positioned[]>;
  after(
    filter: EventFilter,
    position: EventPosition,
    limit: number,
    keys: readonly SubjectKey[],
  ): Promise<readonly Positioned[]>;
  stashedKeys(): Promise<readonly SubjectKey[]>;
  /**
   * Persons were erased: pseudonyms and marks. Their keys leave the files for good; answers the pseudonyms of those found
   * by mark.
   */
  forget(erased: readonly string[]): Promise<readonly string[]>;
  /** The log of erasures is done with up to here; kept for the next start. */
  forgotThrough(position: number): Promise<void>;
  /** What `forgotThrough` was last told; 0 for nothing. */
  erasedThrough(): Promise<number>;
  /** Of the present chain, from this sequence on; of what is flushed, nothing. */
  backlog(limit: number, from: number): Promise<Backlog>;
  /** Answers what central storage has of the present chain. */
  flushed(what: Flushed): Promise<FlushedPositions>;
  chainHead(): Promise<ChainHead>;
  agree(central: ChainHead): Promise<Agreement>;
}
