import type { EventDraft } from '#src/domain/audit-event.ts';
import { Fault } from '#src/domain/faults.ts';
import type { BufferStatus, ChainRow } from '#src/ports/audit.ts';
import type {
  Agreement,
  Backlog,
  ChainHead,
  FlushedFile,
  FlushedPositions,
  FlushedThrough,
  SubjectKey,
} from './contract.ts';
import { claimsEffect } from './effects.ts';
import { type AuditFileOptions, SqliteAuditFile } from './file.ts';
import { unavailable } from './unavailable.ts';
import { startOver } from './volume.ts';

/** Flushed rows that may be kept for want of a signature behind them. */
const ROWS_PER_RELEASE = 256;

export interface FlushedFileOptions extends AuditFileOptions {
  /** With the oldest waiting event older than this, nothing that claims an effect is taken. */
  readonly maxAgeMs: number;
}

/** Opens the hash-chained file of a sidecar whose events leave for central storage; otherwise as `openAuditFile`. */
export function openFlushedFile(options: FlushedFileOptions): FlushedFile {
  return new SqliteFlushedFile(options);
}

class SqliteFlushedFile extends SqliteAuditFile implements FlushedFile {
  readonly #maxAgeMs: number;

  constructor(options: FlushedFileOptions) {
    super(options);
    this.#maxAgeMs = options.maxAgeMs;
  }

  override stage(events: readonly EventDraft[]): void {
    this.ready();
    const ageMs = this.#ageMs();
    if (ageMs === undefined) throw unavailable('the audit trail cannot be read');
    if (ageMs > this.#maxAgeMs && events.some(({ type }) => claimsEffect(type)))
      throw unavailable('events have waited too long for central storage');
    super.stage(events);
  }

  override status(): BufferStatus {
    const status = super.status();
    const { outbox } = this.parts;
    const ageMs = this.#ageMs();
    const { events, bytes } = outbox.counts(this.present, this.usedBytes);
    return {
      ...status,
      flushedSequence: outbox.flushed,
      anchoredSequence: outbox.anchored,
      writable: status.writable && ageMs !== undefined && ageMs <= this.#maxAgeMs,
      waiting: { events, bytes, ageMs: ageMs ?? 0, maxAgeMs: this.#maxAgeMs },
    };
  }

  chainHead(): ChainHead {
    const { chainId, sequence, hash } = this.present;
    return { chainId, sequence, hash };
  }

  waitingRows(from: number, limit: number): readonly ChainRow[] {
    return this.parts.outbox.rows(this.present, from, limit);
  }

  get keysWaiting(): number {
    return this.stash.size;
  }

  stashedKey(ref: string): SubjectKey | undefined {
    return this.stash.find(this.parts, ref);
  }

  backlogOf(rows: readonly ChainRow[]): Omit<Backlog, 'subjectKeys'> {
    return this.parts.outbox.backlogOf(this.present, rows, this.usedBytes);
  }

  noteFlushed(through: readonly FlushedThrough[], refs: readonly string[]): FlushedPositions {
    this.ready();
    const { outbox } = this.parts;
    // What is said of a chain that was set aside meanwhile is of no use here.
    const own = through.find(({ chainId }) => chainId === this.present.chainId);
    const next = own && outbox.advance(this.present, own);
    if (next || refs.length > 0) this.#note(next, refs);
    return { from: this.present.chain.firstPosition, through: outbox.flushedPosition };
  }

  release(limit: number, keepAfter: number): boolean {
    this.ready();
    const { outbox } = this.parts;
    const last = outbox.releasable(limit, keepAfter, this.signedSequence);
    if (last === undefined) return false;
    this.write(() => outbox.delete(last));
    outbox.released(last);
    this.measure();
    return true;
  }

  agree(central: ChainHead): Agreement {
    this.ready();
    const { outbox } = this.parts;
    const head = this.present;
    if (central.chainId !== head.chainId) throw new Fault('precondition', 'INTERNAL', 'that is not the present chain');
    const isMore = central.sequence > head.sequence;
    if (isMore || (central.sequence > 0 && !outbox.agreesWith(central))) {
      this.#startOver(central, isMore ? 'TRUNCATED' : 'FORKED');
      return isMore ? 'rolled-back' : 'forked';
    }
    if (central.sequence > outbox.flushed) this.#note(outbox.advance(head, { ...central, anchored: 0 }), []);
    if (central.sequence >= outbox.flushed) return 'agrees';
    this.#note(outbox.rewind(central), []);
    return 'central-behind';
  }

  /** Of the oldest event that waits; 0 for none, undefined when that cannot be read. */
  #ageMs(): number | undefined {
    try {
      const oldestAt = this.parts.outbox.oldestAt(this.present);
      return oldestAt > 0 ? Math.max(0, this.options.clock.now() - oldestAt) : 0;
    } catch {
      return undefined;
    }
  }

  /** With enough rows flushed behind the last signature, the head is signed too, so that they can leave. */
  #note(next: FlushedThrough | undefined, refs: readonly string[]): void {
    const head = this.present;
    const { outbox, dropKey } = this.parts;
    const due = next !== undefined && next.sequence - this.signedSequence >= ROWS_PER_RELEASE;
    this.write(() => {
      if (next) outbox.mark(next, this.signer);
      for (const ref of refs) dropKey.run(ref);
      if (due) this.sign(head, this.options.clock.now());
    });
    if (next) outbox.marked(next);
    if (due) this.signedSequence = head.sequence;
    this.stash.dropped(refs);
  }

  /** The file is not the one that central storage was written from: evidence now, and no place to go on. */
  #startOver({ chainId, sequence, hash }: ChainHead, fault: 'TRUNCATED' | 'FORKED'): void {
    const position = this.present.chain.firstPosition + sequence - 1;
    const detail = `central storage has another row ${sequence} of chain ${chainId}`;
    const lastGood = { chainId, sequence, headHash: hash, position };
    this.reopen((options) => startOver(options, { ok: false, fault, detail, lastGood }, undefined));
  }
}
