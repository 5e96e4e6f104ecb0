import { Fault } from '#src/domain/faults.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { Migration } from '#src/gen/sql/migrations.js';
import type { Row, Tx } from './executor.ts';
import { text, whole } from './row.ts';

const LEDGER = `CREATE TABLE IF NOT EXISTS schema_migrations (
  version INTEGER NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  checksum TEXT NOT NULL,
  applied_at BIGINT NOT NULL
)`;

/** Its rows are what `missingMigrations` takes. */
export const READ_LEDGER = 'SELECT version, name, checksum, applied_at FROM schema_migrations ORDER BY version';

/**
 * The migrations that a database with this ledger lacks. Throws Fault(precondition, STORE_UNAVAILABLE) when it was written
 * by a newer version, or when a migration that was applied is not the one that this version carries.
 */
export function missingMigrations(ledger: readonly Row[], migrations: readonly Migration[]): readonly Migration[] {
  for (const [index, row] of ledger.entries()) {
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
  return migrations.slice(ledger.length);
}

/**
 * Brings the schema to the newest version, forward only, inside the caller's one transaction; answers how many
 * migrations it applied, each told to `onApply` before it runs. Throws as `missingMigrations`, and changes nothing then.
 */
export async function migrate(
  tx: Pick<Tx, 'all' | 'run'>,
  migrations: readonly Migration[],
  now: EpochMs,
  onApply?: (migration: Migration) => void,
): Promise<number> {
  await tx.run(LEDGER);
  const missing = missingMigrations(await tx.all(READ_LEDGER), migrations);
  for (const migration of missing) {
    onApply?.(migration);
    for (const statement of migration.statements) await tx.run(statement);
    await tx.run(
      'INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)',
      migration.version,
      migration.name,
      migration.checksum,
      now,
    );
  }
  return missing.length;
}

function refusal(why: string): Fault {
  return new Fault('precondition', 'STORE_UNAVAILABLE', `the state database cannot be used: ${why}`);
}
