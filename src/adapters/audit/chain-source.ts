import type { Database, Statement } from 'better-sqlite3';
import type { ChainHeader, ChainRow, Checkpoint, CheckpointKey, ExportItem } from '#src/ports/audit.ts';
import type { FlushMark } from './flush-mark.ts';
import { type Columns, layoutOf } from './schema.ts';
import { UnreadableError, type VerifyItem } from './verify.ts';

const PAGE = 256;

export interface KnownChain extends ChainHeader {
  readonly chain: number;
  readonly firstPosition: number;
}

/** A damaged page can show any type in any column, whatever the table says; only the row id is what it is. */
type Raw<Name extends string> = Readonly<Record<Name, unknown>>;
type RawRow = Raw<
  | 'chain'
  | 'sequence'
  | 'at'
  | 'realm'
  | 'type'
  | 'outcome'
  | 'subject_tag'
  | 'challenge_tag'
  | 'session_tag'
  | 'previous_hash'
  | 'record'
  | 'hash'
> & { readonly position: number };
type RawCheckpoint = Raw<'sequence' | 'key_id' | 'head_hash' | 'signed_at' | 'signature'>;

type RawMark = Raw<'sequence' | 'hash' | 'anchored' | 'key_id' | 'signature'>;

type RawChain = Raw<'chain_id' | 'parent_chain_id' | 'parent_head_hash' | 'begin_reason' | 'first_position'> & {
  readonly chain: number;
};

const bytes = (value: unknown): Uint8Array => (value instanceof Uint8Array ? value : new Uint8Array());
const whole = (value: unknown): number => (typeof value === 'number' ? value : Number.NaN);
const words = (value: unknown): string => (typeof value === 'string' ? value : '');

/** Reads chains, rows and checkpoints in order, in small pages, so that a writer on the same connection gets its turn. */
export class ChainSource {
  readonly #rowsAfter: Statement<[number, number, number], RawRow>;
  readonly #rowsOfChain: Statement<[number, number, number, number], RawRow>;
  readonly #checkpoints: Statement<[number, number, number], RawCheckpoint>;
  readonly #newestCheckpoint: Statement<[number, number], RawCheckpoint>;
  readonly #chains: Statement<[], RawChain>;
  readonly #keys: Statement<[], Raw<'key_id' | 'public_key'>>;
  readonly #mark: Statement<[number], RawMark> | undefined;

  constructor(db: Database) {
    this.#rowsAfter = db.prepare('SELECT * FROM events WHERE position > ? AND position <= ? ORDER BY position LIMIT ?');
    this.#rowsOfChain = db.prepare(
      'SELECT * FROM events WHERE position >= ? AND position <= ? AND chain = ? ORDER BY position LIMIT ?',
    );
    this.#checkpoints = db.prepare(
      'SELECT * FROM checkpoints WHERE chain = ? AND sequence > ? AND sequence <= ? ORDER BY sequence',
    );
    this.#newestCheckpoint = db.prepare(
      'SELECT * FROM checkpoints WHERE chain = ? AND sequence <= ? ORDER BY sequence DESC LIMIT 1',
    );
    this.#chains = db.prepare('SELECT * FROM chains ORDER BY chain');
    this.#keys = db.prepare('SELECT * FROM checkpoint_keys ORDER BY key_id');
    this.#mark = layoutOf(db) >= 2 ? db.prepare('SELECT * FROM flushed WHERE chain = ?') : undefined;
  }

  keys(): readonly CheckpointKey[] {
    return this.#keys.all().map((row) => ({ keyId: words(row.key_id), publicKey: bytes(row.public_key) }));
  }

  chains(): readonly KnownChain[] {
    return this.#chains.all().map((row) => ({
      chain: row.chain,
      chainId: words(row.chain_id),
      parentChainId: words(row.parent_chain_id),
      parentHeadHash: bytes(row.parent_head_hash),
      beginReason: words(row.begin_reason),
      firstPosition: whole(row.first_position),
    }));
  }

  flushMark({ chain, chainId }: Pick<KnownChain, 'chain' | 'chainId'>): FlushMark | undefined {
    const row = this.#mark?.get(chain);
    return (
      row && {
        chainId,
        sequence: whole(row.sequence),
        hash: bytes(row.hash),
        anchored: whole(row.anchored),
        keyId: words(row.key_id),
        signature: bytes(row.signature),
      }
    );
  }

  /** Rows `from` to `to` of one chain, those that are here, and the first `limit` of them. */
  rowsFrom(chain: KnownChain, from: number, to: number, limit = to - from + 1): readonly ChainRow[] {
    const offset = chain.firstPosition - 1;
    const rows = this.#rowsOfChain.all(offset + from, offset + to, chain.chain, limit);
    return rows.map((row) => chainRow(chain.chainId, row));
  }

  checkpointsBetween(chain: KnownChain, after: number, to: number): readonly Checkpoint[] {
    return this.#checkpoints.all(chain.chain, after, to).map((row) => checkpointOf(chain, row));
  }

  newestCheckpoint(chain: KnownChain, upTo: number): Checkpoint | undefined {
    const [row] = this.#newestCheckpoint.all(chain.chain, upTo);
    return row && checkpointOf(chain, row);
  }

  /** Rows of one chain from `sequence` on, each followed by its checkpoints. */
  page(chain: KnownChain, from: number, to: number, limit = PAGE): readonly ExportItem[] {
    const offset = chain.firstPosition - 1;
    const rows = this.#rowsOfChain.all(offset + from, offset + to, chain.chain, limit);
    const last = rows.at(-1);
    const checkpoints = last ? this.#checkpoints.all(chain.chain, from - 1, last.position - offset) : [];
    return rows.flatMap((row): ExportItem[] => [
      { kind: 'row', row: chainRow(chain.chainId, row) },
      ...checkpoints
        .filter(({ sequence }) => sequence === row.sequence)
        .map((found): ExportItem => ({ kind: 'checkpoint', checkpoint: checkpointOf(chain, found) })),
    ]);
  }

  /**
   * Everything up to `lastPosition` for verifying, in order of position, so that whatever stands between the rows shows.
   * Throws UnreadableError where a page of the file is damaged.
   */
  *items(chainId: string, lastPosition: number): Generator<VerifyItem, void> {
    for (const key of this.#read(() => this.keys())) yield { kind: 'key', key };
    const all = this.#read(() => this.chains());
    const chains = chainId === '' ? all : all.filter((chain) => chain.chainId === chainId);
    const byNumber = new Map(chains.map((chain) => [chain.chain, chain]));
    const [first, end] =
      chainId === '' ? [Number.MIN_SAFE_INTEGER, lastPosition] : stretchOf(chains[0], all, lastPosition);
    const seen = new Set<number>();
    let position = first;
    let current: KnownChain | undefined;
    let sequence = 0;
    for (let more = true; more; ) {
      const rows = this.#read(() => this.#rowsAfter.all(position, end, PAGE));
      more = rows.length === PAGE;
      for (const row of rows) {
        position = row.position;
        const chain = byNumber.get(whole(row.chain));
        if (chain && chain !== current) {
          if (current) yield* this.#checkpointsOf(current, sequence, end);
          yield { kind: 'chain', chain };
          const mark = this.#read(() => this.flushMark(chain));
          if (mark) yield { kind: 'flushed', mark };
          seen.add(chain.chain);
          current = chain;
          // Checkpoints of rows that have left need not have left with them.
          sequence = mark ? Math.max(0, whole(row.sequence) - 1) : 0;
        }
        yield {
          kind: 'row',
          row: chainRow(chain?.chainId ?? '', row),
          columns: columnsFrom(row),
          misplaced: chain !== undefined && row.position !== chain.firstPosition + whole(row.sequence) - 1,
        };
        const number = whole(row.sequence);
        if (current && number > sequence) {
          yield* this.#checkpointsOf(current, sequence, number + current.firstPosition - 1);
          sequence = number;
        }
      }
    }
    if (current) yield* this.#checkpointsOf(current, sequence, end);
    for (const chain of chains.filter(({ chain: number }) => !seen.has(number))) yield { kind: 'chain', chain };
  }

  /** Up to a position rather than a number: what was signed after the reading began is none of its business. */
  *#checkpointsOf(chain: KnownChain, after: number, lastPosition: number): Generator<VerifyItem, void> {
    const to = lastPosition - chain.firstPosition + 1;
    for (const row of this.#read(() => this.#checkpoints.all(chain.chain, after, to)))
      yield { kind: 'checkpoint', checkpoint: checkpointOf(chain, row) };
  }

  #read<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      if (isDamage(error)) throw new UnreadableError(`the file is damaged: ${error.message}`);
      throw error;
    }
  }
}

/** The positions after which and up to which the rows of one chain stand. */
function stretchOf(chain: KnownChain | undefined, all: readonly KnownChain[], lastPosition: number): [number, number] {
  if (!chain) return [0, 0];
  const next = all.map(({ firstPosition }) => firstPosition).filter((position) => position > chain.firstPosition);
  return [chain.firstPosition - 1, Math.min(lastPosition, ...next.map((position) => position - 1))];
}

/** SQLite saying that the file is not what it should be, as opposed to not being able to reach it. */
export function isDamage(error: unknown): error is Error {
  const code = sqliteCode(error);
  return code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB' || code === 'SQLITE_ERROR';
}

/** '' for anything that is no error of SQLite. */
export function sqliteCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.startsWith('SQLITE_')
    ? error.code
    : '';
}

function chainRow(chainId: string, row: RawRow): ChainRow {
  return {
    chainId,
    sequence: whole(row.sequence),
    previousHash: bytes(row.previous_hash),
    record: bytes(row.record),
    hash: bytes(row.hash),
  };
}

function checkpointOf(chain: KnownChain, row: RawCheckpoint): Checkpoint {
  return {
    chainId: chain.chainId,
    sequence: whole(row.sequence),
    headHash: bytes(row.head_hash),
    signedAt: whole(row.signed_at),
    keyId: words(row.key_id),
    signature: bytes(row.signature),
  };
}

function columnsFrom(row: RawRow): Columns {
  return {
    at: whole(row.at),
    realm: words(row.realm),
    type: words(row.type),
    outcome: whole(row.outcome),
    subjectTag: whole(row.subject_tag),
    challengeTag: whole(row.challenge_tag),
    sessionTag: whole(row.session_tag),
  };
}
