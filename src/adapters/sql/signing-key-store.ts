import type { EventDraft } from '#src/domain/audit-event.ts';
import type { SigningKey, SigningKeyStore } from '#src/ports/signing-key-store.ts';
import type { Row, SqlExecutor } from './executor.ts';
import { bytes, optionalWhole, orNull, present, text, whole } from './row.ts';

type Use = Parameters<SigningKeyStore['list']>[0];

export class SqlSigningKeyStore implements SigningKeyStore {
  readonly #sql: SqlExecutor;

  constructor(sql: SqlExecutor) {
    this.#sql = sql;
  }

  ensure(use: Use, candidate: SigningKey, events: readonly EventDraft[]): Promise<SigningKey> {
    return this.#sql.unit(async (tx) => {
      const stored = await tx.run(
        `INSERT INTO signing_keys (id, use, public_jwk, sealed_private, created_at, retired_at)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
        candidate.id,
        use,
        candidate.publicJwk,
        candidate.sealedPrivate,
        candidate.createdAt,
        orNull(candidate.retiredAt),
      );
      if (stored === 1) tx.record(...events);
      const [row] = await tx.all('SELECT * FROM signing_keys WHERE use = $1 AND retired_at IS NULL', use);
      if (!row) throw new Error('there is no active signing key after one was stored');
      return keyOf(row);
    });
  }

  async list(use: Use): Promise<readonly SigningKey[]> {
    const rows = await this.#sql.read(
      'SELECT * FROM signing_keys WHERE use = $1 ORDER BY created_at DESC, id DESC',
      use,
    );
    return rows.map(keyOf);
  }
}

function keyOf(row: Row): SigningKey {
  return {
    id: text(row, 'id'),
    publicJwk: text(row, 'public_jwk'),
    sealedPrivate: bytes(row, 'sealed_private'),
    createdAt: whole(row, 'created_at'),
    ...present({ retiredAt: optionalWhole(row, 'retired_at') }),
  };
}
