import type { Database } from 'better-sqlite3';
import { Fault } from '#src/domain/faults.ts';
import type { ChainRow } from '#src/ports/audit.ts';
import type { ChainSource } from './chain-source.ts';
import type { CheckpointSigner } from './checkpoint-key.ts';
import type { Backlog, ChainHead, FlushedThrough } from './contract.ts';
import { signFlushMark } from './flush-mark.ts';
import type { Head } from './inspect.ts';

/** What of a chain waits for central storage, and what may leave the file. */
export class Outbox {
  readonly #source: ChainSource;
  readonly #chain: Head['chain'];
  readonly #statements: ReturnType<typeof prepare>;
  #last: FlushedThrough | undefined;
  /** Position of the first row that is still here. */
  #first: number;
  /** Time of the oldest waiting event; undefined when it has to be looked up. */
  #oldestAt: number | undefined;

  constructor(db: Database, source: ChainSource, chain: Head['chain']) {
    this.#source = source;
    this.#chain = chain;
    this.#statements = prepare(db);
    this.#last = source.flushMark(chain);
    this.#first = this.#statements.first.get()?.first ?? chain.firstPosition;
  }

  /** The last row that central storage has. */
  get flushed(): number {
    return this.#last?.sequence ?? 0;
  }

  /** The last checkpoint that central storage has. */
  get anchored(): number {
    return this.#last?.anchored ?? 0;
  }

  get flushedPosition(): number {
    return this.#chain.firstPosition + this.flushed - 1;
  }

  rows(head: Head, from: number, limit: number): readonly ChainRow[] {
    const first = Math.max(from, this.flushed + 1);
    return this.#source.rowsFrom(this.#chain, first, Math.min(head.sequence, first + limit - 1));
  }

  backlogOf(head: Head, rows: readonly ChainRow[], usedBytes: number): Omit<Backlog, 'subjectKeys'> {
    const [source, chain] = [this.#source, this.#chain];
    // What waits from these rows on: by then those before them are flushed.
    const before = Math.max(this.flushed, (rows[0]?.sequence ?? 0) - 1);
    const checkpoints = source.checkpointsBetween(chain, this.anchored, rows.at(-1)?.sequence ?? this.flushed);
    const { chainId, parentChainId, parentHeadHash, beginReason } = chain;
    const isAny = rows.length + checkpoints.length > 0;
    return {
      chains: isAny ? [{ chainId, parentChainId, parentHeadHash, beginReason }] : [],
      keys: isAny ? source.keys() : [],
      rows,
      checkpoints,
      waiting: { ...this.counts(head, usedBytes, before), oldestAt: this.#oldestAfter(head, before) },
    };
  }

  /** Bytes are the share of the waiting rows in what the file uses. */
  counts(head: Head, usedBytes: number, flushed = this.flushed): Pick<Backlog['waiting'], 'events' | 'bytes'> {
    const events = head.sequence - flushed;
    const kept = head.position - this.#first + 1;
    return { events, bytes: kept > 0 ? Math.round((usedBytes * events) / kept) : 0 };
  }

  /** 0 when nothing waits. */
  oldestAt(head: Head): number {
    if (head.sequence <= this.flushed) return 0;
    this.#oldestAt ??= this.#statements.at.get(this.flushedPosition + 1)?.at;
    return this.#oldestAt ?? 0;
  }

  #oldestAfter(head: Head, sequence: number): number {
    if (sequence <= this.flushed) return this.oldestAt(head);
    return this.#statements.at.get(this.#chain.firstPosition + sequence)?.at ?? 0;
  }

  /** undefined when that is no news. Throws Fault(data-loss, INTEGRITY) for a row that is not the one that is here. */
  advance(head: Head, through: FlushedThrough): FlushedThrough | undefined {
    const last = this.#last ?? { chainId: through.chainId, sequence: 0, hash: new Uint8Array(), anchored: 0 };
    const isAhead = through.sequence > last.sequence;
    if (isAhead && (through.sequence > head.sequence || !this.agreesWith(through)))
      throw new Fault('data-loss', 'INTEGRITY', `row ${through.sequence} is not the one that was flushed`);
    const { chainId, sequence, hash } = isAhead ? through : last;
    const anchored = Math.max(last.anchored, Math.min(through.anchored, sequence));
    return isAhead || anchored > last.anchored ? { chainId, sequence, hash, anchored } : undefined;
  }

  /** Back to where central storage is, or to the oldest row that is still here. */
  rewind(central: ChainHead): FlushedThrough {
    const firstSequence = this.#first - this.#chain.firstPosition + 1;
    const before = this.#source.rowsFrom(this.#chain, firstSequence, firstSequence)[0]?.previousHash;
    const isKept = central.sequence + 1 >= firstSequence || !before;
    const { sequence, hash } = isKept ? central : { sequence: firstSequence - 1, hash: before };
    const anchored = Math.min(this.anchored, sequence);
    return { chainId: this.#chain.chainId, sequence, hash, anchored };
  }

  /** Whether the row is the one that is here; true too for rows that have left. */
  agreesWith({ sequence, hash }: ChainHead): boolean {
    const [row] = this.#source.rowsFrom(this.#chain, sequence, sequence);
    const own = row?.hash ?? (sequence === this.flushed ? this.#last?.hash : undefined);
    return own === undefined || Buffer.compare(own, hash) === 0;
  }

  /** Inside a transaction; `marked` when that is committed. */
  mark(next: FlushedThrough, signer: CheckpointSigner): void {
    const { sequence, hash, anchored, keyId, signature } = signFlushMark(signer, next);
    this.#statements.mark.run(this.#chain.chain, sequence, hash, anchored, keyId, signature);
  }

  marked(next: FlushedThrough): void {
    this.#last = next;
    this.#oldestAt = undefined;
  }

  /**
   * The last position to delete now, or undefined for none. The row under the newest checkpoint stays: it is where the next
   * start begins to check, and by it a signature covers where the rows begin.
   */
  releasable(limit: number, keepAfter: number, signedSequence: number): number | undefined {
    const signed = this.#chain.firstPosition + signedSequence - 1;
    const last = Math.min(this.flushedPosition, signed - 1, keepAfter, this.#first + limit - 1);
    return last >= this.#first ? last : undefined;
  }

  /** Inside a transaction; `released` when that is committed. */
  delete(last: number): void {
    this.#statements.deleteRows.run(last);
    const sequence = Math.min(last - this.#chain.firstPosition + 1, this.anchored);
    this.#statements.deleteCheckpoints.run(this.#chain.chain, sequence);
  }

  released(last: number): void {
    this.#first = last + 1;
  }
}

function prepare(db: Database) {
  return {
    first: db.prepare<[], { first: number | null }>('SELECT min(position) AS first FROM events'),
    at: db.prepare<[number], { at: number }>('SELECT at FROM events WHERE position = ?'),
    mark: db.prepare('INSERT OR REPLACE INTO flushed VALUES (?, ?, ?, ?, ?, ?)'),
    deleteRows: db.prepare('DELETE FROM events WHERE position <= ?'),
    deleteCheckpoints: db.prepare('DELETE FROM checkpoints WHERE chain = ? AND sequence <= ?'),
  };
}
