import { parseRecord } from '#src/adapters/audit/record.ts';
import { rowHash, sameBytes } from '#src/adapters/audit/row-hash.ts';
import { ChainVerifier } from '#src/adapters/audit/verify.ts';
import { Fault } from '#src/domain/faults.ts';
import type { AuditRecord } from '#src/gen/sallyport/v1/audit_pb.js';
import type { ChainFault, CheckpointKey, Verdict } from '#src/ports/audit.ts';
import type { CentralChain, CentralChains, CentralRow, PruneNote, RowPlace } from './central-chains.ts';
import { isPruneSigned } from './prune-note.ts';
import type { RecordColumns } from './record-columns.ts';

export interface VerifyCentralOptions {
  /** '' for all chains. */
  readonly chainId: string;
  /** When given, every checkpoint, and every note of what was pruned, must be by one of these keys. */
  readonly trustedKeyIds?: ReadonlySet<string>;
  /** Told after each page how many rows have been checked. */
  readonly onProgress?: (rows: number) => void;
}

export interface CentralVerdict {
  readonly verdict: Verdict;
  readonly chains: number;
  /** Chains whose beginning was pruned. */
  readonly pruned: number;
  /** Rows that no signed checkpoint covers yet. */
  readonly unsigned: number;
}

interface Finding {
  readonly fault: ChainFault;
  readonly chainId: string;
  readonly sequence: number;
  readonly detail: string;
}

type Context = VerifyCentralOptions & { readonly keys: readonly CheckpointKey[] };

/**
 * Verifies the trail of all sidecars, chain by chain, each as it was when its turn came; what is flushed meanwhile is left
 * for the next time. Only a page of rows is in memory at a time. Throws Fault(not-found, EVENT_NOT_FOUND) for a chain that
 * is not there, Fault(unavailable) when the database goes away.
 */
export async function verifyCentral(chains: CentralChains, options: VerifyCentralOptions): Promise<CentralVerdict> {
  const total = { rows: 0, checkpoints: 0, chains: 0, pruned: 0, unsigned: 0 };
  const layout = await chains.layoutFault();
  if (layout !== undefined) return ended(total, { fault: 'UNREADABLE', chainId: '', sequence: 0, detail: layout });
  const context: Context = { ...options, keys: await chains.keys() };
  for await (const chainId of idsOf(chains, options.chainId)) {
    const rowsBefore = total.rows;
    const progress = (rows: number) => options.onProgress?.(rowsBefore + rows);
    const result = await verifyChain(chains, await chains.chain(chainId), { ...context, onProgress: progress });
    total.rows += result.rows;
    total.checkpoints += result.checkpoints;
    total.chains += 1;
    total.pruned += result.pruned ? 1 : 0;
    total.unsigned += result.unsigned;
    if (result.found) return ended(total, result.found);
  }
  return ended(total, undefined);
}

function ended(total: Omit<CentralVerdict, 'verdict'> & { rows: number; checkpoints: number }, found?: Finding) {
  const { rows, checkpoints, ...more } = total;
  const verdict: Verdict = found ? { intact: false, rows, checkpoints, ...found } : { intact: true, rows, checkpoints };
  return { verdict, ...more };
}

async function* idsOf(chains: CentralChains, chainId: string): AsyncGenerator<string, void> {
  if (chainId !== '') {
    const { header, last, signed } = await chains.chain(chainId);
    if (!header && last + signed === 0)
      throw new Fault('not-found', 'EVENT_NOT_FOUND', 'chain_id: there is no such chain in the central trail');
    yield chainId;
    return;
  }
  let after = '';
  for (;;) {
    const { ids, more } = await chains.idsAfter(after);
    yield* ids;
    if (!more) return;
    after = ids.at(-1) ?? after;
  }
}

interface ChainResult {
  readonly rows: number;
  readonly checkpoints: number;
  readonly pruned: boolean;
  readonly unsigned: number;
  readonly found?: Finding;
}

async function verifyChain(chains: CentralChains, chain: CentralChain, context: Context): Promise<ChainResult> {
  const { chainId, header, pruned, last, signed } = chain;
  const begin = pruned?.sequence ?? 0;
  const nothing = { rows: 0, checkpoints: 0, pruned: pruned !== undefined, unsigned: 0 };
  const finding = (fault: ChainFault, sequence: number, detail: string) => ({
    ...nothing,
    found: { fault, chainId, sequence, detail },
  });
  if (!header) return finding('LINK', 0, 'the chain has no beginning');
  const link = await parentFault(chains, chain);
  if (link !== undefined) return finding('LINK', 1, link);
  const note = pruned && noteFault(chain, context);
  if (note !== undefined) return finding('SIGNATURE', begin, note);
  const leftover = pruned ? await chains.firstUpTo(chainId, begin) : 0;
  if (leftover > 0)
    return finding('FORKED', leftover, `row ${leftover} stands where the chain was pruned up to ${begin}`);
  if (pruned && last <= begin)
    return signed > begin
      ? finding('TRUNCATED', begin + 1, `rows from ${begin + 1} on are missing; signed up to ${signed}`)
      : nothing;
  const seam = pruned && (await seamFault(chains, pruned));
  if (seam) return finding(seam.fault, begin + 1, seam.detail);
  const { trustedKeyIds } = context;
  const verifier = new ChainVerifier({ partial: begin > 0, ...(trustedKeyIds && { trustedKeyIds }) });
  for (const key of context.keys) verifier.push({ kind: 'key', key });
  verifier.push({ kind: 'chain', chain: header });
  const found = await pushRows(chains, chain, verifier, context);
  const verdict = verifier.verdict();
  const counted = { ...nothing, rows: verdict.rows, checkpoints: verdict.checkpoints };
  // A row that was missing before the one with the altered column comes first.
  const isFirst = !verdict.intact && (!found || verdict.sequence <= found.sequence);
  const first = isFirst ? verdict : found;
  if (!first) return { ...counted, unsigned: Math.max(0, last - Math.max(begin, signed)) };
  const { fault, sequence, detail } = await named(chains, chain, first);
  return { ...counted, found: { fault, chainId, sequence, detail } };
}

/** Pushes rows and checkpoints; answers what the verifier alone cannot see. */
async function pushRows(
  chains: CentralChains,
  { chainId, pruned, last, signed }: CentralChain,
  verifier: ChainVerifier,
  { onProgress }: Context,
): Promise<Finding | undefined> {
  const begin = pruned?.sequence ?? 0;
  const to = Math.max(last, signed);
  let place: RowPlace = { sequence: begin, at: Number.MAX_SAFE_INTEGER };
  let checkedTo = begin;
  const pushCheckpoints = async (upTo: number) => {
    for (const checkpoint of await chains.checkpoints(chainId, checkedTo + 1, upTo))
      if (!verifier.push({ kind: 'checkpoint', checkpoint })) return false;
    checkedTo = upTo;
    return true;
  };
  for (;;) {
    const { rows, more } = await chains.rows(chainId, place, last);
    const end = rows.at(-1);
    // Checkpoints come before the rows they sign, which the verifier allows; they are few.
    if (!(await pushCheckpoints(end?.row.sequence ?? to))) return undefined;
    for (const item of rows) {
      if (!verifier.push({ kind: 'row', row: item.row })) return undefined;
      const column = alteredColumn(item);
      const { sequence } = item.row;
      if (column !== undefined)
        return { fault: 'EDITED', chainId, sequence, detail: `column ${column} of row ${sequence} was altered` };
    }
    onProgress?.(verifier.rows);
    if (end) place = { sequence: end.row.sequence, at: end.at };
    if (more) continue;
    await pushCheckpoints(to);
    return undefined;
  }
}

/** The first row that was kept has to follow the last one that was pruned. */
async function seamFault(
  chains: CentralChains,
  { chainId, sequence, headHash }: PruneNote,
): Promise<Pick<Finding, 'fault' | 'detail'> | undefined> {
  const next = sequence + 1;
  const { rows } = await chains.rows(chainId, { sequence, at: Number.MAX_SAFE_INTEGER }, next);
  const [first] = rows;
  if (!first) return { fault: 'MISSING', detail: `row ${next} is missing; pruned was only up to ${sequence}` };
  return sameBytes(first.row.previousHash, headHash)
    ? undefined
    : { fault: 'LINK', detail: `row ${next} does not link to the last row that was pruned` };
}

function noteFault({ pruned }: CentralChain, { keys, trustedKeyIds }: Context): string | undefined {
  if (!pruned) return undefined;
  const { keyId, sequence } = pruned;
  if (trustedKeyIds && !trustedKeyIds.has(keyId))
    return `the note that rows up to ${sequence} were pruned is by key ${keyId}, which is not trusted`;
  const key = keys.find((one) => one.keyId === keyId);
  return key && isPruneSigned(pruned, key.publicKey)
    ? undefined
    : `the signature of the note that rows up to ${sequence} were pruned does not hold`;
}

async function parentFault(chains: CentralChains, { header }: CentralChain): Promise<string | undefined> {
  if (!header || header.parentChainId === '') return undefined;
  const { parentChainId, parentHeadHash } = header;
  return (await chains.holds(parentChainId, parentHeadHash)) === 'no'
    ? `the chain before, ${parentChainId}, does not have the row that this one links to`
    : undefined;
}

/** A row in the place of another one looks edited by itself; where the right one stands elsewhere, they changed places. */
async function named(
  chains: CentralChains,
  { chainId }: CentralChain,
  found: Pick<Finding, 'fault' | 'sequence' | 'detail'>,
): Promise<Pick<Finding, 'fault' | 'sequence' | 'detail'>> {
  const { fault, sequence } = found;
  if (fault !== 'EDITED' || sequence < 2) return found;
  const { rows } = await chains.rows(chainId, { sequence: sequence - 2, at: Number.MAX_SAFE_INTEGER }, sequence - 1);
  const before = rows.at(-1)?.row;
  const right = before && (await chains.successor(chainId, before.hash, sequence));
  return right && sameBytes(rowHash(chainId, sequence, right.previousHash, right.record), right.hash)
    ? { fault: 'REORDERED', sequence, detail: `row ${sequence} stands under the number ${right.sequence}` }
    : found;
}

function alteredColumn({ row, columns }: CentralRow): string | undefined {
  let should: RecordColumns;
  try {
    should = columnsOf(parseRecord(row.record));
  } catch {
    return 'record';
  }
  return Object.entries(should).find(([name, value]) => columns[name as keyof RecordColumns] !== value)?.[0];
}

function columnsOf(record: AuditRecord): RecordColumns {
  const { realm, type, outcome, subjectRef, challengeId, sessionId, factorId } = record;
  return { at: Number(record.occurredAtMs), realm, type, outcome, subjectRef, challengeId, sessionId, factorId };
}
