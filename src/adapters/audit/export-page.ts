import { Fault } from '#src/domain/faults.ts';
import type { ExportItem } from '#src/ports/audit.ts';
import type { ChainSource, KnownChain } from './chain-source.ts';

const ROWS_PER_PAGE = 256;

export interface ExportRange {
  /** '' for all. */
  readonly chainId: string;
  /** 0 for the first kept. */
  readonly from: number;
  /** 0 for the last. */
  readonly to: number;
}

/**
 * One page of an export. The newest checkpoint of a chain comes right after its header, so that an export that was cut
 * short shows. The end is fixed by the first page: what is written meanwhile is not part of it.
 */
export function exportPage(
  source: ChainSource,
  range: ExportRange,
  cursor: string,
  lastPosition: number,
): { readonly items: readonly ExportItem[]; readonly next?: string } {
  const chains = source.chains().filter(({ chainId }) => range.chainId === '' || chainId === range.chainId);
  const [first] = chains;
  if (!first) throw new Fault('not-found', 'EVENT_NOT_FOUND', 'chain_id: there is no such chain in this trail');
  const from = Math.max(1, range.from);
  const place = cursor === '' ? { chain: first.chain, sequence: 0, end: lastPosition } : parse(cursor);
  const chain = chains.find(({ chain: number }) => number === place.chain);
  if (!chain) throw new Fault('invalid', 'TOKEN_INVALID', 'the export cursor was not made here');
  const to = Math.min(range.to || Number.MAX_SAFE_INTEGER, place.end - chain.firstPosition + 1);
  const items: ExportItem[] = cursor === '' ? source.keys().map((key) => ({ kind: 'key', key })) : [];
  if (place.sequence === 0) items.push(...opening(source, chain, from, to));
  const start = Math.max(from, place.sequence);
  const rows = source.page(chain, start, to, ROWS_PER_PAGE);
  items.push(...rows);
  const sequences = rows.flatMap((item) => (item.kind === 'row' ? [item.row.sequence] : []));
  const last = sequences.at(-1);
  // The first rows may have left for central storage, so the number of rows does not say how far this page came.
  if (last !== undefined && sequences.length === ROWS_PER_PAGE)
    return { items, next: `${chain.chain}.${last + 1}.${place.end}` };
  const following = chains[chains.indexOf(chain) + 1];
  return following ? { items, next: `${following.chain}.0.${place.end}` } : { items };
}

function opening(source: ChainSource, chain: KnownChain, from: number, to: number): ExportItem[] {
  const { chainId, parentChainId, parentHeadHash, beginReason } = chain;
  const header: ExportItem = { kind: 'chain', chain: { chainId, parentChainId, parentHeadHash, beginReason } };
  const checkpoint = source.newestCheckpoint(chain, to);
  return checkpoint && checkpoint.sequence >= from ? [header, { kind: 'checkpoint', checkpoint }] : [header];
}

function parse(cursor: string): { chain: number; sequence: number; end: number } {
  const [chain = Number.NaN, sequence = Number.NaN, end = Number.NaN] = cursor.split('.').map(Number);
  if (![chain, sequence, end].every(Number.isSafeInteger))
    throw new Fault('invalid', 'TOKEN_INVALID', 'the export cursor was not made here');
  return { chain, sequence, end };
}
