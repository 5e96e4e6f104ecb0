import { readFileSync, writeFileSync } from 'node:fs';
import SqliteDatabase from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { anchorPath, readAnchor, signAnchor, writeAnchor } from '#src/adapters/audit/anchor.ts';
import { CheckpointSigner } from '#src/adapters/audit/checkpoint-key.ts';
import { verifyFile } from '#src/adapters/audit/verify-file.ts';
import { auditBench, writeEvents } from '../../support/audit-files.ts';
import { SeededRandom } from '../../support/random.ts';

/** A closed file with a few rows, and its anchor as JSON. */
function closedFile() {
  const bench = auditBench();
  const file = bench.open();
  writeEvents(bench, file, 10);
  file.close();
  const path = anchorPath(bench.path);
  const anchor = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  const put = (over: Record<string, unknown>) => writeFileSync(path, JSON.stringify({ ...anchor, ...over }));
  return { bench, path, anchor, put };
}

describe('the anchor', () => {
  it('is believed only as it was signed: each part that is altered shows, in the file and in the verdict', () => {
    const { bench, path, anchor, put } = closedFile();
    expect(verifyFile(bench.path)).toMatchObject({ anchored: true, verdict: { intact: true } });
    for (const [name, value] of Object.entries(anchor)) {
      const other = typeof value === 'number' ? value - 1 : typeof value === 'boolean' ? !value : `A${String(value)}`;
      put({ [name]: other });
      expect(readAnchor(path), name).toBe('altered');
      expect(verifyFile(bench.path), name).toMatchObject({ verdict: { intact: false, fault: 'SIGNATURE' } });
    }
    put({});
    expect(verifyFile(bench.path).verdict.intact).toBe(true);
  });

  it('that another key signed is not trusted where the trusted keys are named', () => {
    const { bench, path } = closedFile();
    const genuine = readAnchor(path);
    if (typeof genuine === 'string') throw new Error(genuine);
    const forger = new CheckpointSigner(new SeededRandom('forger').bytes(32));
    const cut = genuine.sequence - 4;
    const db = new SqliteDatabase(bench.path);
    db.exec(`DELETE FROM events WHERE sequence > ${cut}; DELETE FROM checkpoints WHERE sequence > ${cut}`);
    const last = db.prepare<[], { hash: Buffer }>('SELECT hash FROM events ORDER BY position DESC LIMIT 1').get();
    db.close();
    const head = { ...genuine, sequence: cut, position: cut, headHash: last?.hash ?? Buffer.alloc(0), closed: true };
    writeAnchor(path, signAnchor(forger, head));
    const trustedKeyIds = new Set([genuine.keyId]);
    expect(verifyFile(bench.path, { trustedKeyIds }).verdict).toMatchObject({ intact: false, fault: 'SIGNATURE' });
  });
});
