import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { projectRoot, Sidecar } from '../support/sidecar.ts';

let original: string;
beforeAll(async () => {
  const sidecar = await Sidecar.start();
  original = mkdtempSync(join(tmpdir(), 'sallyport-tamper-'));
  const client = sidecar.client();
  for (let index = 0; index < 40; index += 1)
    await client.unary(SessionService.method.createSession, { subject: `p${index % 7}` });
  await sidecar.stop();
  cpSync(sidecar.dataDir, original, { recursive: true });
  await sidecar[Symbol.asyncDispose]();
});
afterAll(() => rmSync(original, { recursive: true, force: true }));

interface Verdict {
  readonly status: number | null;
  readonly intact: boolean;
  readonly fault?: string;
  readonly sequence?: number;
}

function verifyAfter(change: (db: Database.Database) => void): Verdict {
  const copy = mkdtempSync(join(tmpdir(), 'sallyport-copy-'));
  try {
    cpSync(original, copy, { recursive: true });
    const db = new Database(join(copy, 'audit.db'));
    change(db);
    db.close();
    const run = spawnSync(join(projectRoot, 'bin/sallyport.mjs'), ['audit', 'verify', '--data-dir', copy, '--json'], {
      encoding: 'utf8',
    });
    return { status: run.status, ...(JSON.parse(run.stdout) as { intact: boolean }) };
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

describe('sallyport audit verify on a copy of the data', () => {
  it('accepts a clean copy', () => {
    expect(verifyAfter(() => {})).toMatchObject({ status: 0, intact: true });
  });

  const damages: readonly [string, (db: Database.Database) => void, number][] = [
    [
      'an edited record',
      (db) =>
        db.exec(
          "UPDATE events SET record = CAST(substr(record, 1, length(record) - 1) || x'00' AS BLOB) WHERE sequence = 12",
        ),
      12,
    ],
    ['an edited column', (db) => db.exec("UPDATE events SET type = 'session.ended' WHERE sequence = 14"), 14],
    ['a deleted row', (db) => db.exec('DELETE FROM events WHERE sequence = 20'), 20],
    [
      'two swapped rows',
      (db) =>
        db.exec(
          'UPDATE events SET sequence = 1000 WHERE sequence = 9; UPDATE events SET sequence = 9 WHERE sequence = 10; UPDATE events SET sequence = 10 WHERE sequence = 1000',
        ),
      9,
    ],
  ];
  const statuses = new Map<string, number | null>();
  it.each(damages)('names the first bad row of %s', (name, change, sequence) => {
    const verdict = verifyAfter(change);
    statuses.set(name, verdict.status);
    expect(verdict).toMatchObject({ intact: false, sequence });
    expect(verdict.status).toBeGreaterThan(0);
  });

  it('notices a truncated tail', () => {
    const verdict = verifyAfter((db) => db.exec('DELETE FROM events WHERE sequence > 30'));
    expect(verdict).toMatchObject({ intact: false, fault: 'TRUNCATED' });
    statuses.set('truncated', verdict.status);
  });

  it('has a different exit code for each kind', () => {
    const kinds = ['an edited record', 'a deleted row', 'two swapped rows', 'truncated'].map((name) =>
      statuses.get(name),
    );
    expect(new Set(kinds).size).toBe(4);
  });
});
