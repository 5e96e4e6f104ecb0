import type { ExportRange } from '#src/adapters/audit/export-page.ts';
import { Fault } from '#src/domain/faults.ts';
import type { Checkpoint, ExportItem } from '#src/ports/audit.ts';
import type { CentralChain, CentralChains } from './central-chains.ts';

interface Place {
  readonly chainId: string;
  /** The last row given out. */
  readonly sequence: number;
  readonly at: number;
  /** The last row of the chain that belongs to this export, as its first page saw it; 0: it begins here. */
  readonly end: number;
}

/**
 * One page of an export over all sidecars, in the order that verification reads: keys, then each chain with its newest
 * checkpoint right behind its header, so that an export that was cut short shows. A chain whose beginning was pruned
 * begins with the first row kept. Throws Fault(not-found, EVENT_NOT_FOUND) for a chain that is not there.
 */
export async function exportCentral(
  chains: CentralChains,
  range: ExportRange,
  cursor: string,
): Promise<{ readonly items: readonly ExportItem[]; readonly next?: string }> {
  if (cursor !== '') {
    const place = parse(cursor);
    return place.end === 0 ? await beginning(chains, range, place.chainId) : await pageOf(chains, range, place);
  }
  const first = range.chainId !== '' ? await known(chains, range.chainId) : (await chains.idsAfter('', 1)).ids[0];
  const keys = (await chains.keys()).map((key): ExportItem => ({ kind: 'key', key }));
  if (first === undefined) return { items: keys };
  const page = await beginning(chains, range, first);
  return { ...page, items: [...keys, ...page.items] };
}

async function known(chains: CentralChains, chainId: string): Promise<string> {
  const { header, last } = await chains.chain(chainId);
  if (header || last > 0) return chainId;
  throw new Fault('not-found', 'EVENT_NOT_FOUND', 'chain_id: there is no such chain in the central trail');
}

/** The header of a chain and its first page. */
async function beginning(chains: CentralChains, range: ExportRange, chainId: string) {
  const chain = await chains.chain(chainId);
  const end = Math.min(range.to || Number.MAX_SAFE_INTEGER, chain.last);
  const from = Math.max(1, range.from, (chain.pruned?.sequence ?? 0) + 1);
  const items: ExportItem[] = headerOf(chain);
  const checkpoint = await chains.newestCheckpoint(chainId, end);
  if (checkpoint && checkpoint.sequence >= from) items.push({ kind: 'checkpoint', checkpoint });
  const page = await pageOf(chains, range, { chainId, sequence: from - 1, at: Number.MAX_SAFE_INTEGER, end });
  return { ...page, items: [...items, ...page.items] };
}

function headerOf({ header }: CentralChain): ExportItem[] {
  // Without one, verification says so.
  return header ? [{ kind: 'chain', chain: header }] : [];
}

async function pageOf(chains: CentralChains, range: ExportRange, place: Place) {
  const { chainId, sequence, end } = place;
  const { rows, more } = await chains.rows(chainId, place, end);
  const last = rows.at(-1);
  const checkpoints = last ? await chains.checkpoints(chainId, sequence + 1, last.row.sequence) : [];
  const items = rows.flatMap(({ row }): ExportItem[] => [{ kind: 'row', row }, ...signing(row.sequence, checkpoints)]);
  if (more && last) return { items, next: format({ chainId, sequence: last.row.sequence, at: last.at, end }) };
  const next = range.chainId === '' ? (await chains.idsAfter(chainId, 1)).ids[0] : undefined;
  return next === undefined ? { items } : { items, next: format({ chainId: next, sequence: 0, at: 0, end: 0 }) };
}

function signing(sequence: number, checkpoints: readonly Checkpoint[]): ExportItem[] {
  return checkpoints
    .filter((checkpoint) => checkpoint.sequence === sequence)
    .map((checkpoint) => ({ kind: 'checkpoint', checkpoint }));
}

function format({ chainId, sequence, at, end }: Place): string {
  return Buffer.from(JSON.stringify([chainId, sequence, at, end])).toString('base64url');
}

function parse(cursor: string): Place {
  try {
    const [chainId, sequence, at, end]: unknown[] = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (typeof chainId === 'string' && isWhole(sequence) && isWhole(at) && isWhole(end))
      return { chainId, sequence, at, end };
  } catch {
    // Said below.
  }
  throw new Fault('invalid', 'TOKEN_INVALID', 'the export cursor was not made here');
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value);
}
