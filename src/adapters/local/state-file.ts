import { join } from 'node:path';
import { type KeyRingData, keyRingFingerprint } from '#src/adapters/secrets/key-ring.ts';
import { migrate } from '#src/adapters/sql/migrate.ts';
import { text } from '#src/adapters/sql/row.ts';
import { Fault } from '#src/domain/faults.ts';
import type { EpochMs } from '#src/domain/time.ts';
import { sqliteMigrations } from '#src/gen/sql/migrations.js';
import { SqliteConnection } from './sqlite-connection.ts';
import { SqliteTransaction } from './sqlite-transaction.ts';

export interface StateFile extends Disposable {
  readonly transaction: SqliteTransaction;
}

/** Opens state.db with the newest schema. Throws Fault when it cannot be used, or belongs to another key ring. */
export async function openStateFile(directory: string, keyRing: KeyRingData, now: EpochMs): Promise<StateFile> {
  const connection = new SqliteConnection(join(directory, 'state.db'));
  try {
    const transaction = new SqliteTransaction(connection);
    await migrate(transaction, sqliteMigrations, now);
    requireSameRing(transaction, keyRingFingerprint(keyRing));
    transaction.commit();
    return { transaction, [Symbol.dispose]: () => connection.close() };
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** Sealed columns open only under the ring they were sealed under, so another ring is refused before it does harm. */
function requireSameRing(transaction: SqliteTransaction, fingerprint: string): void {
  transaction.run(`INSERT INTO marks (name, value) VALUES ('key-ring', $1) ON CONFLICT (name) DO NOTHING`, fingerprint);
  const [row] = transaction.all(`SELECT value FROM marks WHERE name = 'key-ring'`);
  if (row && text(row, 'value') === fingerprint) return;
  throw new Fault(
    'precondition',
    'STORE_UNAVAILABLE',
    'the data directory was sealed under another key ring: start with the key file that belongs to it, or with an empty data directory',
  );
}
