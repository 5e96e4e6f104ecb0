import type { Challenge } from '#src/domain/challenge.ts';
import type { Notice } from '#src/domain/notice.ts';
import type { KeptDevice } from '#src/domain/subject-export.ts';
import type { DeviceRevocation } from '#src/domain/trusted-device.ts';
import type { SubjectRecords } from '#src/ports/subject-records.ts';
import { challengeOf } from './challenge-rows.ts';
import type { SqlExecutor } from './executor.ts';
import { noticeOf } from './notice-rows.ts';
import { optionalText, optionalWhole, present } from './row.ts';
import { deviceOf } from './trusted-device-rows.ts';

/** More than anybody has; the rows are small. */
const MAX_ROWS = 1_000;

export class SqlSubjectRecords implements SubjectRecords {
  readonly #sql: Pick<SqlExecutor, 'read'>;

  constructor(sql: Pick<SqlExecutor, 'read'>) {
    this.#sql = sql;
  }

  async challenges(
    realm: string,
    subject: string,
    limit: number,
    after = { createdAt: -1, id: '' },
  ): Promise<readonly Challenge[]> {
    const rows = await this.#sql.read(
      `SELECT * FROM challenges WHERE realm = $1 AND subject = $2 AND (created_at > $3 OR (created_at = $3 AND id > $4))
       ORDER BY created_at, id LIMIT $5`,
      realm,
      subject,
      after.createdAt,
      after.id,
      limit,
    );
    return rows.map(challengeOf);
  }

  async devices(realm: string, subject: string): Promise<readonly KeptDevice[]> {
    const rows = await this.#sql.read(
      'SELECT * FROM trusted_devices WHERE realm = $1 AND subject = $2 ORDER BY created_at, id LIMIT $3',
      realm,
      subject,
      MAX_ROWS,
    );
    return rows.map((row) => ({
      ...deviceOf(row),
      ...present({
        revokedAt: optionalWhole(row, 'revoked_at'),
        revokeReason: optionalText(row, 'revoke_reason') as DeviceRevocation | undefined,
      }),
    }));
  }

  async notices(realm: string, subject: string): Promise<readonly Notice[]> {
    const rows = await this.#sql.read(
      'SELECT * FROM notices WHERE realm = $1 AND subject = $2 ORDER BY noted_at, id LIMIT $3',
      realm,
      subject,
      MAX_ROWS,
    );
    return rows.map(noticeOf);
  }
}
