import type { Backlog, FlushSource, FlushTarget } from '#src/adapters/audit/contract.ts';
import type { ChainRow, Checkpoint } from '#src/ports/audit.ts';

/** Rows that wait, as the local trail would hand them out. */
export class MemoryFlushSource implements FlushSource {
  rows: ChainRow[] = [];
  checkpoints: Checkpoint[] = [];
  oldestAt = 0;
  /** Limits of the backlogs that were asked for. */
  readonly asked: number[] = [];
  #last = new Map<string, number>();

  /** Adds rows of `bytes` bytes to a chain. */
  add(chainId: string, count: number, bytes = 100): void {
    for (let index = 0; index < count; index += 1) {
      const sequence = (this.#last.get(chainId) ?? 0) + 1;
      this.#last.set(chainId, sequence);
      const hash = new Uint8Array(32).fill(sequence % 256);
      this.rows.push({ chainId, sequence, previousHash: new Uint8Array(32), record: new Uint8Array(bytes), hash });
    }
  }

  sign(chainId: string, sequence: number): void {
    const rest = { headHash: new Uint8Array(32), signedAt: 1, keyId: 'key', signature: new Uint8Array(64) };
    this.checkpoints.push({ chainId, sequence, ...rest });
  }

  async backlog(limit: number): Promise<Backlog> {
    this.asked.push(limit);
    const rows = this.rows.slice(0, limit);
    return {
      rows,
      checkpoints: this.rows.length <= limit ? this.checkpoints : [],
      chains: [...new Set(rows.map(({ chainId }) => chainId))].map((chainId) => ({
        chainId,
        parentChainId: '',
        parentHeadHash: new Uint8Array(),
        beginReason: 'first',
      })),
      keys: [],
      subjectKeys: [],
      waiting: {
        events: this.rows.length,
        bytes: this.rows.reduce((sum, { record }) => sum + record.length, 0),
        oldestAt: this.rows.length > 0 ? this.oldestAt : 0,
      },
    };
  }

  async flushed(backlog: Pick<Backlog, 'rows' | 'checkpoints'>): Promise<void> {
    this.rows = this.rows.filter((row) => !backlog.rows.includes(row));
    this.checkpoints = this.checkpoints.filter((one) => !backlog.checkpoints.includes(one));
  }
}

/** Central storage that can be away, or have another row somewhere. */
export class MemoryFlushTarget implements FlushTarget {
  readonly batches: Backlog[] = [];
  isAway = false;
  /** Chains of which it has other rows. */
  readonly foreign = new Set<string>();
  /** Awaited by each flush. */
  during: (() => Promise<void>) | undefined;
  attempts = 0;
  prepared = 0;

  get rows(): readonly ChainRow[] {
    return this.batches.flatMap(({ rows }) => rows);
  }

  async store(backlog: Backlog): Promise<Awaited<ReturnType<FlushTarget['store']>>> {
    this.attempts += 1;
    await this.during?.();
    if (this.isAway) throw new Error('central storage is away');
    const clash = backlog.rows.find(({ chainId }) => this.foreign.has(chainId));
    if (clash) return { outcome: 'clash', chainId: clash.chainId, sequence: clash.sequence };
    this.batches.push(backlog);
    return { outcome: 'stored' };
  }

  async head(chainId: string) {
    if (this.isAway) throw new Error('central storage is away');
    const last = this.rows.filter((row) => row.chainId === chainId).at(-1);
    return { sequence: last?.sequence ?? 0, hash: last?.hash ?? new Uint8Array() };
  }

  async prepare(): Promise<void> {
    this.prepared += 1;
  }
}
