import type { Database } from 'better-sqlite3';
import type { ChainFault } from '#src/ports/audit.ts';
import type { Anchor } from './anchor.ts';
import { ChainSource, isDamage, type KnownChain } from './chain-source.ts';
import type { AuditPosition } from './contract.ts';
import { isFlushMarkSigned } from './flush-mark.ts';
import { sameBytes } from './row-hash.ts';
import { schemaFault } from './schema.ts';
import { ChainVerifier, type KnownHead } from './verify.ts';

export interface Head extends AuditPosition {
  readonly chain: KnownChain;
  readonly hash: Uint8Array;
}

/** Where a chain was last known to be whole. */
export type KnownGood = Pick<Anchor, 'chainId' | 'sequence' | 'position' | 'headHash'>;

export type Inspection =
  | { readonly ok: true; readonly head: Head; readonly signedSequence: number }
  | { readonly ok: false; readonly fault: ChainFault; readonly detail: string; readonly lastGood?: KnownGood };

/**
 * The quick check at start: layout, the beginning of the newest chain, every row since its last checkpoint (at most a few
 * thousand) and the heads known from elsewhere. The whole file is for `sallyport audit verify`.
 */
export function inspect(db: Database, anchor: Anchor | undefined, knownPosition: number): Inspection {
  try {
    return inspectReadable(db, anchor, knownPosition);
  } catch (error) {
    if (!isDamage(error)) throw error;
    return { ok: false, fault: 'UNREADABLE', detail: `the file is damaged: ${error.message}` };
  }
}

function inspectReadable(db: Database, anchor: Anchor | undefined, knownPosition: number): Inspection {
  const layout = schemaFault(db);
  if (layout !== undefined) return { ok: false, fault: 'UNREADABLE', detail: layout };
  const source = new ChainSource(db);
  const chain = source.chains().at(-1);
  if (!chain) return { ok: false, fault: 'TRUNCATED', detail: 'the file has no chain' };
  const newest = db
    .prepare<[], { position: number; chain: number; sequence: number }>(
      'SELECT position, chain, sequence FROM events ORDER BY position DESC LIMIT 1',
    )
    .get();
  const checkpoint = source.newestCheckpoint(chain, Number.MAX_SAFE_INTEGER);
  const start = Math.max(1, checkpoint?.sequence ?? 1);
  const verifier = new ChainVerifier({ partial: start > 1, knownHeads: headsKnown(chain, anchor, start) });
  for (const key of source.keys()) verifier.push({ kind: 'key', key });
  verifier.push({ kind: 'chain', chain });
  if (checkpoint) verifier.push({ kind: 'checkpoint', checkpoint });
  let begins: number | undefined;
  let last: { sequence: number; hash: Uint8Array } | undefined;
  for (const item of rows(source, chain, start)) {
    if (item.kind === 'checkpoint') continue;
    if (!verifier.push(item) || item.kind !== 'row') break;
    begins ??= item.row.sequence;
    last = item.row;
  }
  const verdict = verifier.verdict();
  const good = last && {
    chainId: chain.chainId,
    sequence: last.sequence,
    position: chain.firstPosition + last.sequence - 1,
    headHash: last.hash,
  };
  const failed = (fault: ChainFault, detail: string): Inspection => ({
    ok: false,
    fault,
    detail,
    ...(good && { lastGood: good }),
  });
  if (!verdict.intact) return failed(verdict.fault, verdict.detail);
  if (begins !== start) return failed('MISSING', `row ${start}, which was signed, is missing`);
  if (!good || newest?.chain !== chain.chain || newest.sequence !== good.sequence || newest.position !== good.position)
    return failed('REORDERED', 'the newest row is not the head of the newest chain');
  if (good.position < knownPosition)
    return failed(
      'TRUNCATED',
      `the state database knows of position ${knownPosition}, the trail ends at ${good.position}`,
    );
  if (anchor && anchor.chainId !== chain.chainId && !isPast(anchor, source.chains()))
    return failed(
      'TRUNCATED',
      `position ${anchor.position} of chain ${anchor.chainId} is in the anchor file but not here`,
    );
  const beginning = beginningFault(source, chain, good.sequence);
  if (beginning) return failed(...beginning);
  const flushed = source.flushMark(chain)?.sequence ?? 0;
  if (anchor && anchor.sequence < start && anchor.sequence > flushed && anchor.chainId === chain.chainId) {
    const [row] = source.page(chain, anchor.sequence, anchor.sequence, 1);
    if (row?.kind !== 'row' || Buffer.compare(row.row.hash, anchor.headHash) !== 0)
      return failed('FORKED', `row ${anchor.sequence} is not the one that the anchor file knows`);
  }
  const head = { position: good.position, chainId: chain.chainId, sequence: good.sequence, chain, hash: good.headHash };
  return { ok: true, head, signedSequence: checkpoint?.sequence ?? 0 };
}

const NO_HASH = new Uint8Array();

/** What is wrong with where the rows of the chain begin: with the first, or behind the mark of those that have left. */
function beginningFault(
  source: ChainSource,
  chain: KnownChain,
  headSequence: number,
): [ChainFault, string] | undefined {
  const mark = source.flushMark(chain);
  const key = mark && source.keys().find(({ keyId }) => keyId === mark.keyId);
  if (mark && !(key && isFlushMarkSigned(mark, key.publicKey)))
    return ['SIGNATURE', 'the mark of flushed rows was altered'];
  const { sequence, hash } = mark ?? { sequence: 0, hash: NO_HASH };
  if (sequence > headSequence) return ['TRUNCATED', `row ${sequence} was flushed, the trail ends at ${headSequence}`];
  const [first] = source.rowsFrom(chain, 1, headSequence, 1);
  if (first === undefined || first.sequence > sequence + 1)
    return ['MISSING', `row ${sequence + 1}, which was not flushed, is missing`];
  const [row] = source.rowsFrom(chain, sequence, sequence);
  const isLinked = row ? sameBytes(row.hash, hash) : sequence === 0 || linksTo(source, chain, sequence + 1, hash);
  return isLinked ? undefined : ['FORKED', `row ${sequence} is not the one that was flushed`];
}

/** Rows that all have left leave nothing that could link. */
function linksTo(source: ChainSource, chain: KnownChain, sequence: number, hash: Uint8Array): boolean {
  const [row] = source.rowsFrom(chain, sequence, sequence);
  return row === undefined || sameBytes(row.previousHash, hash);
}

function headsKnown(chain: KnownChain, anchor: Anchor | undefined, start: number): readonly KnownHead[] {
  if (anchor?.chainId !== chain.chainId) return [];
  const { headHash, ...known } = { ...anchor, source: 'the anchor file' };
  return [anchor.sequence >= start ? { ...known, headHash } : known];
}

/**
 * Whether a head that is known of another chain may be: a chain of this file continues that one, or holds it.
 * Otherwise the file was exchanged, or put back from an older copy.
 */
export function isPast(known: Pick<Anchor, 'chainId' | 'position'>, chains: readonly KnownChain[]): boolean {
  return chains.some(
    ({ chainId, parentChainId, firstPosition }) =>
      chainId === known.chainId || (parentChainId === known.chainId && known.position < firstPosition),
  );
}

function* rows(source: ChainSource, chain: KnownChain, from: number) {
  for (let next = from; ; ) {
    const page = source.page(chain, next, Number.MAX_SAFE_INTEGER - chain.firstPosition);
    yield* page;
    const count = page.filter(({ kind }) => kind === 'row').length;
    if (count === 0) return;
    next += count;
  }
}
