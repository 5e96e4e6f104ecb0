import type {
  ChainFault,
  ChainHeader,
  ChainRow,
  Checkpoint,
  CheckpointKey,
  ExportItem,
  Verdict,
} from '#src/ports/audit.ts';
import { checkpointKeyId, isCheckpointSigned } from './checkpoint-key.ts';
import { type FlushMark, isFlushMarkSigned } from './flush-mark.ts';
import { parseRecord } from './record.ts';
import { headerHash, rowHash, sameBytes } from './row-hash.ts';
import type { Columns } from './schema.ts';
import { columnsOf } from './schema.ts';

/** An item of an export, or of a database, which also says how far its rows have left; a row that comes from a database also brings the columns that must agree with its record. */
export type VerifyItem =
  | Exclude<ExportItem, { readonly kind: 'row' }>
  | { readonly kind: 'flushed'; readonly mark: FlushMark }
  | {
      readonly kind: 'row';
      readonly row: ChainRow;
      readonly columns?: Columns;
      /** Its position is not the one that its number in the chain gives. */
      readonly misplaced?: boolean;
    };

/** A head that is known from elsewhere: the anchor file, or the state database. */
export interface KnownHead {
  readonly source: string;
  readonly chainId: string;
  readonly sequence: number;
  /** Unknown to the state database. */
  readonly headHash?: Uint8Array;
  /** Nothing may follow. */
  readonly closed?: boolean;
}

export interface VerifyOptions {
  /** Begin anywhere in a chain; for an export of a range. */
  readonly partial?: boolean;
  readonly knownHeads?: readonly KnownHead[];
  /** When given, every checkpoint must be by one of these keys. */
  readonly trustedKeyIds?: ReadonlySet<string>;
}

type Bad = Extract<Verdict, { readonly intact: false }>;
type Found = Pick<Bad, 'fault' | 'chainId' | 'sequence' | 'detail'>;

/** Checkpoints may run ahead of their rows in an export; more than this at once is no export of ours. */
const MAX_AHEAD = 100_000;

/** An item source that broke off: damaged database pages, or a line that is no item. */
export class UnreadableError extends Error {
  override readonly name = 'UnreadableError';
}

/**
 * Checks chains item by item, in the order of an export: keys, then for each chain its header and its rows in order, each
 * checkpoint before or right behind its row. Pure: it reads nothing and keeps nothing but the present link.
 */
export class ChainVerifier {
  readonly #options: VerifyOptions;
  readonly #keys = new Map<string, Uint8Array>();
  readonly #heads = new Map<string, { readonly sequence: number; readonly hash: Uint8Array }>();
  #chain: ChainHeader | undefined;
  #expected = 1;
  #previous: Uint8Array = new Uint8Array();
  readonly #ahead = new Map<number, Uint8Array[]>();
  /** Rows up to this one may be gone. */
  #mark: FlushMark | undefined;
  #rows = 0;
  #checkpoints = 0;
  #found: Found | undefined;
  /** A row is not where it belongs; whether it is missing or comes later is known at the end of the chain. */
  #wanted: Found | undefined;

  constructor(options: VerifyOptions = {}) {
    this.#options = options;
  }

  get rows(): number {
    return this.#rows;
  }

  /** False once the verdict is certain; further items are not needed. */
  push(item: VerifyItem): boolean {
    if (this.#found) return false;
    if (item.kind === 'row') this.#row(item);
    else if (item.kind === 'checkpoint') this.#checkpoint(item.checkpoint);
    else if (item.kind === 'chain') this.#begin(item.chain);
    else if (item.kind === 'flushed') this.#flushed(item.mark);
    else this.#key(item.key);
    return this.#found === undefined;
  }

  /** The source broke off here. */
  unreadable(detail: string): Verdict {
    this.#found ??= this.#wanted ?? this.#bad('UNREADABLE', this.#expected, detail);
    return this.verdict();
  }

  verdict(): Verdict {
    this.#endChain();
    this.#checkKnownHeads();
    const counts = { rows: this.#rows, checkpoints: this.#checkpoints };
    return this.#found ? { intact: false, ...counts, ...this.#found } : { intact: true, ...counts };
  }

  #bad(fault: ChainFault, sequence: number, detail: string): Found {
    return { fault, chainId: this.#chain?.chainId ?? '', sequence, detail };
  }

  #key(key: CheckpointKey): void {
    if (checkpointKeyId(key.publicKey) === key.keyId) this.#keys.set(key.keyId, key.publicKey);
    else this.#found = this.#bad('SIGNATURE', 0, `key ${key.keyId} does not have the digest that is its id`);
  }

  #flushed(mark: FlushMark): void {
    const { keyId, sequence, hash } = mark;
    const key = this.#keys.get(keyId);
    const isTrusted = this.#options.trustedKeyIds?.has(keyId) ?? true;
    if (!isTrusted || !key || !isFlushMarkSigned(mark, key))
      this.#found = this.#bad('SIGNATURE', sequence, `the mark behind flushed row ${sequence} was altered`);
    this.#mark = mark;
    if (sequence > 0) this.#ahead.set(sequence, [...(this.#ahead.get(sequence) ?? []), hash]);
  }

  #begin(chain: ChainHeader): void {
    this.#endChain();
    if (this.#found) return;
    this.#chain = chain;
    this.#mark = undefined;
    if (this.#heads.has(chain.chainId)) {
      this.#found = this.#bad('FORKED', 1, 'the chain begins twice');
      return;
    }
    this.#expected = 1;
    this.#previous = headerHash(chain);
    for (const { chainId, sequence, headHash } of this.#options.knownHeads ?? [])
      if (chainId === chain.chainId && headHash) this.#ahead.set(sequence, [headHash]);
    const parent = this.#heads.get(chain.parentChainId);
    if (parent && !sameBytes(parent.hash, chain.parentHeadHash))
      this.#found = this.#bad(
        'LINK',
        1,
        `the chain before, ${chain.parentChainId}, does not end where this one links to`,
      );
  }

  #row(item: Extract<VerifyItem, { readonly kind: 'row' }>): void {
    const { row } = item;
    const chain = this.#chain;
    if (!chain) {
      this.#found = {
        fault: 'LINK',
        chainId: row.chainId,
        sequence: row.sequence,
        detail: 'the chain has no beginning',
      };
      return;
    }
    if (this.#wanted) {
      if (row.chainId === chain.chainId && row.sequence === this.#wanted.sequence)
        this.#found = { ...this.#wanted, fault: 'REORDERED', detail: `row ${row.sequence} comes later than its place` };
      return;
    }
    if (this.#expected === 1 && !this.#heads.has(chain.chainId) && row.sequence > 1) this.#beginWith(row);
    const expected = this.#expected;
    this.#found = this.#rowFault(chain, item);
    if (this.#found || this.#wanted) return;
    this.#rows += 1;
    this.#previous = row.hash;
    this.#heads.set(chain.chainId, { sequence: expected, hash: row.hash });
    this.#expected = expected + 1;
    for (const headHash of this.#ahead.get(expected) ?? []) this.#compare(expected, headHash, row.hash);
    this.#ahead.delete(expected);
  }

  /** The first row that is here, if that is not the first of its chain. */
  #beginWith(row: ChainRow): void {
    const left = this.#mark;
    if (!left && !this.#options.partial) return;
    const next = left ? Math.min(row.sequence, left.sequence + 1) : row.sequence;
    this.#expected = next;
    this.#previous = left && next > left.sequence ? left.hash : row.previousHash;
    for (const sequence of this.#ahead.keys()) if (sequence < next) this.#ahead.delete(sequence);
  }

  #rowFault(chain: ChainHeader, item: Extract<VerifyItem, { readonly kind: 'row' }>): Found | undefined {
    const { row, columns } = item;
    const expected = this.#expected;
    if (row.chainId !== chain.chainId || row.sequence !== expected) {
      // The bytes of the row that belongs here, under another number: altered, or exchanged with a later one.
      if (sameBytes(rowHash(chain.chainId, expected, row.previousHash, row.record), row.hash)) {
        this.#wanted = this.#bad('EDITED', expected, `row ${expected} carries the number ${row.sequence}`);
        return undefined;
      }
      if (row.chainId !== chain.chainId)
        return this.#bad(
          'LINK',
          expected,
          `a row of chain ${row.chainId || '(none)'} stands among the rows of this one`,
        );
      if (!sameBytes(rowHash(chain.chainId, row.sequence, row.previousHash, row.record), row.hash))
        return this.#bad('EDITED', expected, `row ${expected} was altered`);
      if (row.sequence < expected) return this.#bad('FORKED', row.sequence, `two rows claim number ${row.sequence}`);
      this.#wanted = this.#bad(
        'MISSING',
        expected,
        `row ${expected} is missing; ${row.sequence} follows ${expected - 1}`,
      );
      return undefined;
    }
    if (!sameBytes(rowHash(chain.chainId, expected, row.previousHash, row.record), row.hash))
      return this.#bad('EDITED', expected, `row ${expected} was altered: its bytes do not give its hash`);
    if (!sameBytes(row.previousHash, this.#previous))
      return expected === 1
        ? this.#bad('LINK', 1, 'the first row does not link to the beginning of its chain')
        : this.#bad('REORDERED', expected, `row ${expected} does not link to row ${expected - 1}`);
    const column = item.misplaced ? 'position' : columns && alteredColumn(row.record, columns);
    return column ? this.#bad('EDITED', expected, `column ${column} of row ${expected} was altered`) : undefined;
  }

  #checkpoint(checkpoint: Checkpoint): void {
    if (this.#wanted) return;
    const { chainId, sequence, keyId, headHash } = checkpoint;
    const key = this.#keys.get(keyId);
    if (this.#options.trustedKeyIds && !this.#options.trustedKeyIds.has(keyId))
      this.#found = {
        ...this.#bad('SIGNATURE', sequence, `checkpoint ${sequence} is by key ${keyId}, which is not trusted`),
        chainId,
      };
    else if (!key || !isCheckpointSigned(checkpoint, key))
      this.#found = {
        ...this.#bad('SIGNATURE', sequence, `the signature of checkpoint ${sequence} does not hold`),
        chainId,
      };
    else if (chainId !== this.#chain?.chainId)
      this.#found = {
        ...this.#bad('LINK', sequence, `checkpoint ${sequence} belongs to a chain that is not here`),
        chainId,
      };
    if (this.#found) return;
    this.#checkpoints += 1;
    const last = this.#expected - 1;
    if (sequence === last && this.#heads.has(chainId)) this.#compare(sequence, headHash, this.#previous);
    else if (sequence > last && this.#ahead.size < MAX_AHEAD)
      this.#ahead.set(sequence, [...(this.#ahead.get(sequence) ?? []), headHash]);
    else if (!this.#options.partial || this.#heads.has(chainId))
      this.#found = this.#bad('REORDERED', sequence, `checkpoint ${sequence} comes later than its place`);
  }

  #compare(sequence: number, headHash: Uint8Array, hash: Uint8Array): void {
    if (!sameBytes(headHash, hash))
      this.#found ??= this.#bad('FORKED', sequence, `row ${sequence} is not the one that was signed`);
  }

  #endChain(): void {
    this.#found ??= this.#wanted;
    const chain = this.#chain;
    if (!this.#found && chain && !this.#heads.has(chain.chainId))
      this.#found = this.#bad('TRUNCATED', 1, 'the chain has no rows');
    if (!this.#found && this.#ahead.size > 0)
      this.#found = this.#bad(
        'TRUNCATED',
        this.#expected,
        `rows from ${this.#expected} on are missing; signed up to ${Math.max(...this.#ahead.keys())}`,
      );
    this.#wanted = undefined;
    this.#ahead.clear();
  }

  #checkKnownHeads(): void {
    for (const known of this.#options.knownHeads ?? []) {
      if (this.#found) return;
      const { chainId, sequence, source } = known;
      const head = this.#heads.get(chainId);
      if (!head || head.sequence < sequence) {
        const from = (head?.sequence ?? 0) + 1;
        this.#found = {
          fault: 'TRUNCATED',
          chainId,
          sequence: from,
          detail: `rows from ${from} on are missing; ${source} knows of ${sequence}`,
        };
      } else if (known.closed && head.sequence > sequence) {
        this.#found = {
          fault: 'FORKED',
          chainId,
          sequence: sequence + 1,
          detail: `rows follow number ${sequence}, where ${source} says the sidecar stopped`,
        };
      } else if (known.headHash && head.sequence === sequence && !sameBytes(known.headHash, head.hash)) {
        this.#found = {
          fault: 'FORKED',
          chainId,
          sequence,
          detail: `row ${sequence} is not the one that ${source} knows`,
        };
      }
    }
  }
}

function alteredColumn(record: Uint8Array, columns: Columns): string | undefined {
  try {
    const should = columnsOf(parseRecord(record));
    return Object.entries(columns).find(([name, value]) => should[name as keyof Columns] !== value)?.[0];
  } catch {
    return 'record';
  }
}

/** Runs a source to its end or to the first fault. */
export function verifyItems(items: Iterable<VerifyItem>, options: VerifyOptions = {}): Verdict {
  const verifier = new ChainVerifier(options);
  try {
    for (const item of items) if (!verifier.push(item)) break;
  } catch (error) {
    if (error instanceof UnreadableError) return verifier.unreadable(error.message);
    throw error;
  }
  return verifier.verdict();
}
