import { describe, expect, it } from 'vitest';
import { CheckpointSigner } from '#src/adapters/audit/checkpoint-key.ts';
import { rowHash } from '#src/adapters/audit/row-hash.ts';
import { type KnownHead, verifyItems } from '#src/adapters/audit/verify.ts';
import type { ChainRow, ExportItem } from '#src/ports/audit.ts';
import { auditBench, writeEvents } from '../../support/audit-files.ts';
import { SeededRandom } from '../../support/random.ts';

const ROWS = 30;

/** An export of one chain with a checkpoint every few rows. */
function exportedChain(): readonly ExportItem[] {
  const bench = auditBench();
  const file = bench.open();
  while (file.head().sequence < ROWS) {
    writeEvents(bench, file, Math.min(5, ROWS - file.head().sequence));
    file.checkpoint(bench.clock.now());
  }
  const items: ExportItem[] = [];
  for (let cursor: string | undefined = ''; cursor !== undefined; ) {
    const page: { items: readonly ExportItem[]; next?: string } = file.exportPage(
      { chainId: '', from: 0, to: 0 },
      cursor,
    );
    items.push(...page.items);
    cursor = page.next;
  }
  file.close();
  return items;
}

function rowsOf(items: readonly ExportItem[]): readonly ChainRow[] {
  return items.flatMap((item) => (item.kind === 'row' ? [item.row] : []));
}

/** The export with the record of one row exchanged, and every hash after it made to fit. */
function rewritten(items: readonly ExportItem[], sequence: number): readonly ExportItem[] {
  const donor = rowsOf(items)[0]?.record;
  let previous: Uint8Array | undefined;
  return items.map((item) => {
    if (item.kind !== 'row' || item.row.sequence < sequence) return item;
    const { row } = item;
    const record = row.sequence === sequence && donor ? donor : row.record;
    const previousHash = previous ?? row.previousHash;
    const hash = rowHash(row.chainId, row.sequence, previousHash, record);
    previous = hash;
    return { kind: 'row', row: { ...row, record, previousHash, hash } };
  });
}

/** Every checkpoint signed anew by `signer`, over the rows as they are, under the id `keyId`. */
function resigned(items: readonly ExportItem[], signer: CheckpointSigner, keyId: string): readonly ExportItem[] {
  const hashes = new Map(rowsOf(items).map((row) => [row.sequence, row.hash]));
  return items.map((item) => {
    if (item.kind === 'key') return { kind: 'key', key: { keyId, publicKey: signer.key.publicKey } };
    if (item.kind !== 'checkpoint') return item;
    const { chainId, sequence, signedAt } = item.checkpoint;
    const headHash = hashes.get(sequence) ?? item.checkpoint.headHash;
    return {
      kind: 'checkpoint',
      checkpoint: { ...signer.checkpoint({ chainId, sequence, headHash, signedAt }), keyId },
    };
  });
}

function keyIdOf(items: readonly ExportItem[]): string {
  const key = items.find((item) => item.kind === 'key');
  if (key?.kind !== 'key') throw new Error('no key');
  return key.key.keyId;
}

describe('a forged export', () => {
  it('whose hashes all fit is found by the next head that was signed', () => {
    const items = exportedChain();
    expect(verifyItems(items)).toMatchObject({ intact: true, rows: ROWS });
    const signed = items.flatMap((item) => (item.kind === 'checkpoint' ? [item.checkpoint.sequence] : []));
    for (const sequence of [2, 13, ROWS]) {
      const next = Math.min(...signed.filter((each) => each >= sequence));
      expect(verifyItems(rewritten(items, sequence))).toMatchObject({ fault: 'FORKED', sequence: next });
    }
  });

  it('that is signed by another key under the id of the trusted one is found by the key', () => {
    const items = exportedChain();
    const trusted = keyIdOf(items);
    const forger = new CheckpointSigner(new SeededRandom('forger').bytes(32));
    const forged = resigned(rewritten(items, 13), forger, trusted);
    expect(verifyItems(forged, { trustedKeyIds: new Set([trusted]) })).toMatchObject({ fault: 'SIGNATURE' });
    expect(verifyItems(forged)).toMatchObject({ fault: 'SIGNATURE' });
    const honest = resigned(rewritten(items, 13), forger, forger.key.keyId);
    expect(verifyItems(honest, { trustedKeyIds: new Set([trusted]) })).toMatchObject({ fault: 'SIGNATURE' });
  });

  it('that tells one chain twice, or a chain without rows, is found', () => {
    const items = exportedChain();
    expect(verifyItems([...items, ...items])).toMatchObject({ fault: 'FORKED', sequence: 1 });
    expect(verifyItems(items.filter(({ kind }) => kind === 'key' || kind === 'chain'))).toMatchObject({
      fault: 'TRUNCATED',
      sequence: 1,
    });
  });
});

describe('a head that is known from elsewhere', () => {
  const verified = (head: (rows: readonly ChainRow[]) => Omit<KnownHead, 'source' | 'chainId'>) => {
    const items = exportedChain();
    const rows = rowsOf(items);
    const chainId = rows[0]?.chainId ?? '';
    return verifyItems(items, { knownHeads: [{ source: 'a friend', chainId, ...head(rows) }] });
  };

  it('agrees with a chain that holds it', () => {
    for (const sequence of [1, 13, ROWS]) {
      expect(verified((rows) => ({ sequence, headHash: rows[sequence - 1]?.hash ?? Buffer.alloc(0) })).intact).toBe(
        true,
      );
      expect(verified(() => ({ sequence })).intact).toBe(true);
    }
  });

  it('shows rows that are missing at the end, with its hash or without', () => {
    const missing = { fault: 'TRUNCATED', sequence: ROWS + 1 };
    expect(verified(() => ({ sequence: ROWS + 1 }))).toMatchObject(missing);
    expect(verified(() => ({ sequence: ROWS + 1, headHash: Buffer.alloc(32, 1) }))).toMatchObject(missing);
  });

  it('shows another row in its place, at the end and within', () => {
    for (const sequence of [1, 13, ROWS]) {
      expect(verified(() => ({ sequence, headHash: Buffer.alloc(32, 1) }))).toMatchObject({
        fault: 'FORKED',
        sequence,
      });
    }
  });

  it('lets nothing follow once it is closed', () => {
    expect(verified(() => ({ sequence: ROWS - 1, closed: true }))).toMatchObject({ fault: 'FORKED', sequence: ROWS });
    expect(verified(() => ({ sequence: ROWS, closed: true })).intact).toBe(true);
  });
});
