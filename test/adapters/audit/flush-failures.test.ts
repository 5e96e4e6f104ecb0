import { describe, expect, it } from 'vitest';
import type { FlushedFile } from '#src/adapters/audit/contract.ts';
import { parseRecord } from '#src/adapters/audit/record.ts';
import { verifyFile } from '#src/adapters/audit/verify-file.ts';
import { type AuditBench, auditBench, writeEvents } from '../../support/audit-files.ts';
import { FailingDisk } from '../../support/failing-disk.ts';

/** What is central, by number in the one chain that there is. */
type Central = Map<number, { readonly hash: string; readonly id: string }>;

function flush(file: FlushedFile, central: Central): void {
  const rows = file.waitingRows(0, 4);
  const { checkpoints } = file.backlogOf(rows);
  for (const { sequence, hash, record } of rows) {
    const row = { hash: Buffer.from(hash).toString('hex'), id: parseRecord(record).id };
    expect(central.get(sequence) ?? row).toEqual(row);
    central.set(sequence, row);
  }
  const last = rows.at(-1);
  if (!last) return;
  const { chainId, sequence, hash } = last;
  file.noteFlushed([{ chainId, sequence, hash, anchored: checkpoints.at(-1)?.sequence ?? 0 }], []);
}

const attempt = (work: () => void) => {
  try {
    work();
    return true;
  } catch {
    return false;
  }
};

/** Writes, flushes and takes rows out by turns; answers what was acknowledged and what is central. */
function flushUnder(bench: AuditBench, disk: FailingDisk, arm: () => void) {
  const file = bench.openFlushed({ openDatabase: disk.openDatabase, files: disk.files });
  const durable: string[] = [];
  const central: Central = new Map();
  arm();
  for (let batch = 0; batch < 6; batch += 1) {
    const drafts = [bench.draft(), bench.draft({ subject: `new-${batch}` })];
    const isDurable = attempt(() => {
      file.stage(drafts);
      file.commit();
    });
    if (isDurable) durable.push(...drafts.map(({ id }) => id));
    if (isDurable) bench.keys.committed();
    if (batch % 2 === 1) file.checkpoint(bench.clock.now());
    attempt(() => flush(file, central));
    attempt(() => void file.release(2, Number.MAX_SAFE_INTEGER));
  }
  return { file, durable, central, calls: disk.calls };
}

/** Thousands of small writes to a real disk, each awaited. */
const LIMIT_MS = 180_000;

describe('a disk that fails while events leave', { timeout: LIMIT_MS }, () => {
  for (const [name, code] of [
    ['a write error', 'SQLITE_IOERR_WRITE'],
    ['a full disk', 'SQLITE_FULL'],
  ] as const)
    for (const count of [1, 5])
      it(`loses nothing acknowledged, and no row before it is central, when ${count} of its calls meet ${name}`, () => {
        const dry = auditBench();
        const { file: unharmed, calls } = flushUnder(dry, new FailingDisk(), () => {});
        unharmed.close();
        expect(calls).toBeGreaterThan(80);
        for (let first = 1; first <= calls; first += 3) {
          const bench = auditBench();
          const disk = new FailingDisk();
          const { file, durable, central } = flushUnder(bench, disk, () => disk.arm(first, count, code));
          disk.arm(Number.POSITIVE_INFINITY, 0, '');
          file.checkpoint(bench.clock.now());
          expect(file.status(), `after call ${first}`).toMatchObject({ writable: true });
          writeEvents(bench, file, 1);
          expect(file.verify('')).toMatchObject({ intact: true });
          const { durableSequence } = file.status();
          while (file.waitingRows(0, 1).length > 0) flush(file, central);
          expect([...central.keys()]).toEqual(Array.from({ length: durableSequence }, (_, index) => index + 1));
          const ids = new Set([...central.values()].map(({ id }) => id));
          expect(durable.filter((id) => !ids.has(id))).toEqual([]);
          while (file.release(4, Number.MAX_SAFE_INTEGER));
          file.close();
          expect(verifyFile(bench.path).verdict).toMatchObject({ intact: true });
          expect(bench.damages).toEqual([]);
        }
      });
});
