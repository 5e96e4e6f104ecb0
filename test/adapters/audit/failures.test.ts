import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import SqliteDatabase from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parseRecord } from '#src/adapters/audit/record.ts';
import { verifyFile } from '#src/adapters/audit/verify-file.ts';
import { Fault } from '#src/domain/faults.ts';
import { type AuditBench, auditBench, writeEvents } from '../../support/audit-files.ts';
import { FailingDisk } from '../../support/failing-disk.ts';

/** Opens, arms the breaker, writes six batches with checkpoints in between; answers the ids that were acknowledged. */
function writeUnder(bench: AuditBench, breaker: FailingDisk, arm: () => void) {
  const file = bench.open({ openDatabase: breaker.openDatabase, files: breaker.files });
  const durable: string[] = [];
  arm();
  for (let batch = 0; batch < 6; batch += 1) {
    const drafts = [bench.draft(), bench.draft({ subject: `new-${batch}` })];
    const before = file.head();
    try {
      file.stage(drafts);
      expect(file.commit().sequence).toBeGreaterThanOrEqual(before.sequence + 2);
      durable.push(...drafts.map(({ id }) => id));
      bench.keys.committed();
      file.dropStashedKeys();
    } catch (error) {
      expect(error).toBeInstanceOf(Fault);
      expect(error).toMatchObject({ kind: 'unavailable', reason: 'AUDIT_UNAVAILABLE' });
      expect(file.head().sequence).toBeGreaterThanOrEqual(before.sequence);
    }
    if (batch % 2 === 1) file.checkpoint(bench.clock.now());
  }
  return { file, durable, calls: breaker.calls };
}

/** Thousands of small writes to a real disk, each awaited. */
const LIMIT_MS = 180_000;

describe('a failing disk', { timeout: LIMIT_MS }, () => {
  for (const [name, code, everyCall] of [
    ['a write error', 'SQLITE_IOERR_WRITE', true],
    ['a failed sync', 'SQLITE_IOERR_FSYNC', false],
    ['a full disk', 'SQLITE_FULL', true],
    ['a lock', 'SQLITE_BUSY', false],
  ] as const)
    for (const count of [1, 6])
      it(`loses nothing acknowledged when ${count} of its calls, whichever, meet ${name}`, () => {
        const dry = auditBench();
        const { file: unharmed, calls } = writeUnder(dry, new FailingDisk(), () => {});
        unharmed.close();
        expect(calls).toBeGreaterThan(40);
        for (let first = 1; first <= calls; first += everyCall && count === 1 ? 1 : 4) {
          const bench = auditBench();
          const breaker = new FailingDisk();
          const { file, durable } = writeUnder(bench, breaker, () => breaker.arm(first, count, code));
          breaker.arm(Number.POSITIVE_INFINITY, 0, '');
          file.checkpoint(bench.clock.now());
          expect(file.status().writable, `after call ${first}`).toBe(true);
          writeEvents(bench, file, 1);
          expect(file.verify('')).toMatchObject({ intact: true });
          const ids = new Set(file.query({}, 1_000).map(({ id }) => id));
          expect(durable.filter((id) => !ids.has(id))).toEqual([]);
          file.close();
          expect(verifyFile(bench.path).verdict).toMatchObject({ intact: true });
          bench.open().close();
          expect(bench.damages).toEqual([]);
        }
      });
});

describe('kill -9', { timeout: LIMIT_MS }, () => {
  it('loses no acknowledged event and leaves a chain that verifies, again and again', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-audit-kill-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, 'audit.db');
    const acknowledged: string[] = [];
    for (let round = 0; round < 8; round += 1) {
      const child = spawn(process.execPath, [join(import.meta.dirname, '../../support/audit-writer.ts'), folder], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        // Somewhere in the middle of the work, at another point each time.
        if (output.length > 2_000 + round * 3_700) child.kill('SIGKILL');
      });
      await once(child, 'close');
      expect(output).not.toContain('damage');
      const lines = output.slice(0, output.lastIndexOf('\n')).split('\n');
      acknowledged.push(...lines.flatMap((line) => line.split(' ').slice(1)));
      const { verdict } = verifyFile(path);
      expect(verdict).toMatchObject({ intact: true });
      expect(verdict.rows).toBeGreaterThanOrEqual(Number(lines.at(-1)?.split(' ')[0]));
    }
    const db = new SqliteDatabase(path, { readonly: true });
    const records = db.prepare<[], { record: Uint8Array }>('SELECT record FROM events').all();
    db.close();
    const stored = new Set(records.map(({ record }) => parseRecord(record).id));
    expect(acknowledged.length).toBeGreaterThan(500);
    expect(acknowledged.filter((id) => !stored.has(id))).toEqual([]);
  });
});
