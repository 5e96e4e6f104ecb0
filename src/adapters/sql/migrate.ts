import { Fault } from '#src/domain/faults.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { Migration } from '#src/gen/sql/migrations.js';
import type { Tx } from './executor.ts';
import { text, whole } from './row.ts';

const LEDGER = `CREATE TABLE IF NOT EXISTS schema_migrations (
  version INTEGER NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  checksum TEXT NOT NULL,
  applied_at BIGINT NOT NULL
)`;

/**
 * Brings the schema to the newest version, forward only, inside the caller's one transaction; answers how many
 * migrations it applied. Throws Fault(precondition, STORE_UNAVAILABLE) and changes nothing when the database was written
 * by a newer version, or when a migration that was applied is not the one that this version carries.
 */
export async function migrate(
  tx: Pick<Tx, 'all' | 'run'>,
  migrations: readonly Migration[],
  now: EpochMs,
): Promise<number> {
  await tx.run(LEDGER);
  const applied = await tx.all('SELECT version, name, checksum FROM schema_migrations ORDER BY version');
  for (const [index, row] of applied.entries()) {
    const [version, name] = [whole(row, 'version'), text(row, 'name')];
    const known = migrations[index];
    if (!known) {
      throw refusal(
        `it has schema version ${version} (${name}), and this version of Sallyport knows only ${migrations.length}: start the newer version again, or restore a backup from before the upgrade`,
      );
    }
    if (known.version !== version || known.checksum !== text(row, 'checksum')) {
      throw refusal(
        `migration ${version} (${name}) is not the one that this version of Sallyport carries: it was changed after it was applied; start the version that made this database`,
      );
    }
  }
  const missing = migrations.slice(applied.length);
  for (const { version, name, checksum, statements } of missing) {
    for (const statement of statements) await tx.run(statement);
    await tx.run(
      'INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)',
      version,
      name,
      checksum,
      now,
    );
  }
  return missing.length;
}

function refusal(why: string): Fault {
  return new Fault('precondition', 'STORE_UNAVAILABLE', `the state database cannot be used: ${why}`);
}
