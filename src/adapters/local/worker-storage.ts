import { join } from 'node:path';
import type { AuditFile } from '#src/adapters/audit/contract.ts';
import { type AuditFileOptions, openAuditFile } from '#src/adapters/audit/file.ts';
import { deriveSeed } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { SqlChallengeStore } from '#src/adapters/sql/challenge-store.ts';
import { NoticingExecutor } from '#src/adapters/sql/noticing-executor.ts';
import { SqlSessionStore } from '#src/adapters/sql/session-store.ts';
import { plainStores } from '#src/adapters/sql/stores.ts';
import { systemClock, systemRandom } from '#src/adapters/system.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import type { Log } from '#src/ports/telemetry.ts';
import { type AuditMark, readAuditPosition } from './audit-position.ts';
import { DirectoryLock } from './directory-lock.ts';
import { LocalAuditLog } from './local-audit-log.ts';
import type { WorkerPorts, WorkerSettings } from './protocol.ts';
import { SqliteExecutor } from './sqlite-executor.ts';
import { openStateFile } from './state-file.ts';
import { SqliteSubjectKeys } from './subject-keys.ts';

const MAX_CACHED_KEYS = 1_024;

/** What tests put in place of the real thing. */
export interface WorkerSeams {
  readonly openAuditFile?: (options: AuditFileOptions) => AuditFile;
  readonly onAuditCommitted?: () => void;
  /** After each step in which flushed rows left the file. */
  readonly onReleased?: () => void;
  /** After each look at what the next start has to know, with what is durable of it. */
  readonly onMarked?: (saved: AuditMark | undefined) => void;
}

export interface WorkerStorageOptions extends WorkerSettings {
  readonly log: Log;
  readonly onAppend: (events: readonly EventDraft[]) => void;
  readonly seams?: WorkerSeams;
}

export interface WorkerStorage {
  readonly ports: Partial<WorkerPorts>;
  /** Finishes what is queued and closes both files. */
  close(): Promise<void>;
}

/**
 * Opens both files of the data directory, in the thread that owns them: takes the lock, brings the schema up to date,
 * checks the audit file, and names what a crash left unconfirmed. Throws Fault when it may not or cannot.
 */
export async function openWorkerStorage(options: WorkerStorageOptions): Promise<WorkerStorage> {
  using opened = new DisposableStack();
  const { directory, keyRing, log, seams = {} } = options;
  const now = systemClock.now;
  opened.adopt(new DirectoryLock(directory, now()), (lock) => lock.release());
  const { transaction } = opened.use(await openStateFile(directory, keyRing, now()));

  const secrets = new AesGcmSecretBox({ ring: keyRing, random: systemRandom });
  const keys = new SqliteSubjectKeys({ transaction, secrets, random: systemRandom, maxCached: MAX_CACHED_KEYS });
  const applied = readAuditPosition(transaction);
  const audit = opened.adopt(
    (seams.openAuditFile ?? openAuditFile)({
      path: join(directory, 'audit.db'),
      subjectKeys: keys,
      checkpointSeed: deriveSeed(keyRing, 'audit.checkpoint'),
      box: secrets,
      maxBytes: options.maxAuditBytes,
      clock: systemClock,
      random: systemRandom,
      onDamage: (damage) => log.error('the audit file was damaged and is set aside', { ...damage }),
      knownPosition: applied?.position,
    }),
    (file) => file.close(),
  );
  const executor = new SqliteExecutor({
    audit,
    keys,
    transaction,
    random: systemRandom,
    now,
    log,
    onAppend: options.onAppend,
    ...(seams.onAuditCommitted && { onAuditCommitted: seams.onAuditCommitted }),
    confirmed: applied?.position ?? 0,
    maxBatch: options.maxBatch,
  });
  executor.bringInLine();
  executor.scrub();

  const timer = setInterval(() => {
    audit.checkpoint(now());
    executor.bringInLine();
    executor.scrub();
  }, options.checkpointMs);
  opened.defer(() => clearInterval(timer));
  const files = opened.move();
  const sql = options.notices ? new NoticingExecutor(executor) : executor;
  return {
    ports: {
      ...plainStores(sql, { table: 'subjects' }),
      challenges: new SqlChallengeStore(sql),
      sessions: new SqlSessionStore(sql, secrets),
      audit: new LocalAuditLog({ executor: sql, file: audit }),
    },
    close: async () => {
      await executor.drained();
      files.dispose();
    },
  };
}
