import type { PushKey, PushKeyStore } from '#src/ports/push-key-store.ts';
import type { Row, SqlExecutor } from './executor.ts';
import { bytes, text, whole } from './row.ts';

const SELECT_KEY = `SELECT * FROM push_keys WHERE name = 'vapid'`;

export class SqlPushKeyStore implements PushKeyStore {
  readonly #sql: SqlExecutor;

  constructor(sql: SqlExecutor) {
    this.#sql = sql;
  }

  ensure(candidate: PushKey): Promise<PushKey> {
    return this.#sql.unit(async (tx) => {
      await tx.run(
        `INSERT INTO push_keys (name, public_key, sealed_private, created_at) VALUES ('vapid', $1, $2, $3)
         ON CONFLICT (name) DO NOTHING`,
        candidate.publicKey,
        candidate.sealedPrivate,
        candidate.createdAt,
      );
      const [row] = await tx.all(SELECT_KEY);
      if (!row) throw new Error('there is no push key after one was stored');
      return keyOf(row);
    });
  }

  async read(): Promise<PushKey | undefined> {
    const [row] = await this.#sql.read(SELECT_KEY);
    return row && keyOf(row);
  }
}

function keyOf(row: Row): PushKey {
  return {
    publicKey: text(row, 'public_key'),
    sealedPrivate: bytes(row, 'sealed_private'),
    createdAt: whole(row, 'created_at'),
  };
}
