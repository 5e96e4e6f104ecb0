import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { AuditFile, ChainHead, FlushedFile } from '#src/adapters/audit/contract.ts';
import { type AuditFileOptions, openAuditFile } from '#src/adapters/audit/file.ts';
import { type FlushedFileOptions, openFlushedFile } from '#src/adapters/audit/flushed-file.ts';
import type { Damage } from '#src/adapters/audit/volume.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { newId } from '#src/domain/ids.ts';
import { ManualClock } from './clock.ts';
import { MemorySubjectKeys } from './memory-subject-keys.ts';
import { SeededRandom } from './random.ts';

export interface AuditBench {
  readonly folder: string;
  readonly path: string;
  readonly clock: ManualClock;
  readonly keys: MemorySubjectKeys;
  readonly damages: Damage[];
  open(more?: Partial<AuditFileOptions>): AuditFile;
  /** The file of a sidecar whose events leave for central storage. */
  openFlushed(more?: Partial<FlushedFileOptions>): FlushedFile;
  draft(fields?: Partial<EventDraft>): EventDraft;
  /** Copies the audit file and what belongs to it into a folder of its own; answers the path there. */
  copy(): string;
}

/** A folder for audit files and everything they need, removed after the test. */
export function auditBench(): AuditBench {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-audit-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const random = new SeededRandom('audit');
  const clock = new ManualClock();
  const keys = new MemorySubjectKeys();
  const damages: Damage[] = [];
  const path = join(folder, 'audit.db');
  const box = new AesGcmSecretBox({ ring: createKeyRing(new SeededRandom('ring')), random });
  let made = 0;
  const options: AuditFileOptions = {
    path,
    subjectKeys: keys,
    checkpointSeed: new SeededRandom('seed').bytes(32),
    box,
    maxBytes: 64 * 1024 * 1024,
    clock,
    random,
    onDamage: (damage) => damages.push(damage),
  };
  return {
    folder,
    path,
    clock,
    keys,
    damages,
    open: (more = {}) => openAuditFile({ ...options, ...more }),
    openFlushed: (more = {}) => openFlushedFile({ ...options, maxAgeMs: 3_600_000, ...more }),
    draft: (fields = {}) => {
      made += 1;
      return {
        id: newId('event', random.bytes(16)),
        type: 'challenge.approved',
        at: clock.now() + made,
        realm: 'default',
        subject: `user-${made % 7}`,
        outcome: 'SUCCESS',
        caller: 'grpc',
        challengeId: `chl_${made}`,
        sessionId: `ses_${made % 5}`,
        ipAddress: '192.0.2.7',
        userAgent: 'Mozilla/5.0',
        ...fields,
      };
    },
    copy: () => {
      const target = join(mkdtempSync(join(folder, 'copy-')), 'audit.db');
      for (const suffix of ['', '-wal']) if (existsSync(path + suffix)) copyFileSync(path + suffix, target + suffix);
      const anchor = join(folder, 'audit.anchor');
      if (existsSync(anchor)) copyFileSync(anchor, join(target, '..', 'audit.anchor'));
      return target;
    },
  };
}

/** Writes `count` events in one commit. */
export function writeEvents(bench: AuditBench, file: AuditFile, count: number): void {
  file.stage(Array.from({ length: count }, () => bench.draft()));
  file.commit();
  bench.keys.committed();
}

/** Says of the oldest `count` waiting rows that central storage has them, with the checkpoints up to there. */
export function flushRows(file: FlushedFile, count: number): ChainHead {
  const rows = file.waitingRows(0, count);
  const { checkpoints } = file.backlogOf(rows);
  const last = rows.at(-1);
  if (!last) throw new Error('nothing waits');
  const { chainId, sequence, hash } = last;
  file.noteFlushed([{ chainId, sequence, hash, anchored: checkpoints.at(-1)?.sequence ?? 0 }], []);
  return { chainId, sequence, hash };
}

/** Takes everything out of the file that may leave. */
export function releaseAll(file: FlushedFile): void {
  while (file.release(64, Number.MAX_SAFE_INTEGER));
}
