import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { AuditFile } from '#src/adapters/audit/contract.ts';
import { openAuditFile } from '#src/adapters/audit/file.ts';
import { readAuditPosition } from '#src/adapters/local/audit-position.ts';
import { SqliteConnection } from '#src/adapters/local/sqlite-connection.ts';
import { SqliteExecutor } from '#src/adapters/local/sqlite-executor.ts';
import { SqliteTransaction } from '#src/adapters/local/sqlite-transaction.ts';
import { SqliteSubjectKeys } from '#src/adapters/local/subject-keys.ts';
import { deriveSeed } from '#src/adapters/secrets/key-ring.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { migrate } from '#src/adapters/sql/migrate.ts';
import { systemClock, systemRandom } from '#src/adapters/system.ts';
import { Fault } from '#src/domain/faults.ts';
import { sqliteMigrations } from '#src/gen/sql/migrations.js';
import { SILENT, TEST_RING } from './local-stores.ts';

/** What goes wrong, to be switched on and off by a test. */
export interface Trouble {
  auditStage: boolean;
  /** Unconfirmed events cannot be named; other events are taken. */
  auditNaming: boolean;
  auditCommit: boolean;
  stateCommit: boolean;
}

/** The parts of the worker in this thread, over real files, with commits that can be made to fail. */
export async function openEngine(directory: string) {
  mkdirSync(directory, { recursive: true });
  const trouble: Trouble = { auditStage: false, auditNaming: false, auditCommit: false, stateCommit: false };
  const commits = { audit: 0, state: 0 };
  const order: string[] = [];

  const connection = new SqliteConnection(join(directory, 'state.db'));
  class BrittleTransaction extends SqliteTransaction {
    override commit(): void {
      if (trouble.stateCommit && this.hasWrites) throw new Error('the disk is gone');
      if (this.hasWrites) commits.state += 1;
      super.commit();
    }
  }
  const transaction = new BrittleTransaction(connection);
  await migrate(transaction, sqliteMigrations, 1);
  transaction.commit();
  const box = new AesGcmSecretBox({ ring: TEST_RING, random: systemRandom });
  const keys = new SqliteSubjectKeys({ transaction, secrets: box, random: systemRandom, maxCached: 100 });
  const file = openAuditFile({
    path: join(directory, 'audit.db'),
    subjectKeys: keys,
    checkpointSeed: deriveSeed(TEST_RING, 'audit.checkpoint'),
    box,
    maxBytes: 1 << 28,
    clock: systemClock,
    random: systemRandom,
    onDamage: (damage) => {
      throw new Error(damage.detail);
    },
  });
  const audit: AuditFile = {
    stage: (events) => {
      if (trouble.auditStage && events.length > 0) throw new Fault('unavailable', 'AUDIT_UNAVAILABLE', 'bound reached');
      if (trouble.auditNaming && events.some(({ type }) => type === 'audit.unconfirmed')) throw new Error('not now');
      file.stage(events);
    },
    commit: () => {
      if (trouble.auditCommit) {
        file.rollback();
        throw new Fault('unavailable', 'AUDIT_UNAVAILABLE', 'disk full');
      }
      commits.audit += 1;
      return file.commit();
    },
    rollback: () => file.rollback(),
    head: () => file.head(),
    eventIdsAfter: (after) => file.eventIdsAfter(after),
    checkpoint: (now) => file.checkpoint(now),
    query: (...args) => file.query(...args),
    after: (...args) => file.after(...args),
    verify: (chainId) => file.verify(chainId),
    verifying: (chainId) => file.verifying(chainId),
    stashedKeys: () => file.stashedKeys(),
    dropStashedKeys: () => file.dropStashedKeys(),
    forgetKeys: (refs) => file.forgetKeys(refs),
    scrub: () => file.scrub(),
    exportPage: (...args) => file.exportPage(...args),
    status: () => file.status(),
    close: () => file.close(),
  };
  let ms = 1_000;
  const executor = new SqliteExecutor({
    audit,
    keys,
    transaction,
    random: systemRandom,
    // Each look at the clock is a second later, so that nothing waits for the pause between two tries.
    now: () => (ms += 1_000),
    log: SILENT,
    maxBatch: 64,
    confirmed: readAuditPosition(transaction)?.position ?? 0,
    onAppend: () => order.push('appended'),
    onAuditCommitted: () => order.push('audit committed'),
  });
  executor.bringInLine();
  commits.audit = 0;
  commits.state = 0;
  return {
    executor,
    audit,
    keys,
    transaction,
    trouble,
    commits,
    order,
    /** As it is left by a crash if `drained` was not awaited. */
    close: () => {
      file.close();
      connection.close();
    },
  };
}

export type Engine = Awaited<ReturnType<typeof openEngine>>;
