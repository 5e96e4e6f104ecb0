import type { Method } from '#src/domain/method.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { IssuedCode, IssuedCodes } from '#src/ports/issued-codes.ts';
import type { SqlExecutor } from './executor.ts';
import { issuedCodeOf, putIssuedCode } from './issued-code-rows.ts';

/** Nobody's name: purges of several sidecars come one after the other, as they are after the same rows. */
const PURGE = ['', 'purge of issued codes'] as const;

export class SqlIssuedCodes implements IssuedCodes {
  readonly #sql: SqlExecutor;

  constructor(sql: SqlExecutor) {
    this.#sql = sql;
  }

  issue(code: IssuedCode): Promise<void> {
    return this.#sql.unit((tx) => putIssuedCode(tx, code));
  }

  async read(realm: string, bearerId: string, method: Method, now: EpochMs): Promise<IssuedCode | undefined> {
    const [row] = await this.#sql.read(
      'SELECT * FROM issued_codes WHERE bearer_id = $1 AND method = $2 AND realm = $3 AND expires_at > $4',
      bearerId,
      method,
      realm,
      now,
    );
    return row && issuedCodeOf(row);
  }

  take(realm: string, bearerId: string, method: Method, now: EpochMs): Promise<IssuedCode | undefined> {
    return this.#sql.unit(async (tx) => {
      const [row] = await tx.all(
        `DELETE FROM issued_codes
         WHERE bearer_id = $1 AND method = $2 AND realm = $3 AND expires_at > $4 RETURNING *`,
        bearerId,
        method,
        realm,
        now,
      );
      return row && issuedCodeOf(row);
    });
  }

  purge(before: EpochMs, limit: number): Promise<number> {
    return this.#sql.unit(async (tx) => {
      await tx.alone(...PURGE);
      return await tx.run(
        `DELETE FROM issued_codes
         WHERE expires_at < $1 AND (bearer_id, method) IN (
           SELECT bearer_id, method FROM issued_codes WHERE expires_at < $1 ORDER BY expires_at LIMIT $2
         )`,
        before,
        limit,
      );
    });
  }
}
