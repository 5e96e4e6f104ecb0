import type { Challenge } from '../domain/challenge.ts';
import type { Notice } from '../domain/notice.ts';
import type { KeptDevice } from '../domain/subject-export.ts';
import type { EpochMs } from '../domain/time.ts';

/** What is kept of one person and is listed nowhere else; for the person's own export. */
export interface SubjectRecords {
  /** Open and ended ones, oldest first, after this one in (createdAt, id) order. */
  challenges(
    realm: string,
    subject: string,
    limit: number,
    after?: { readonly createdAt: EpochMs; readonly id: string },
  ): Promise<readonly Challenge[]>;
  /** Also those that were revoked or are too old, as long as their rows are kept. Oldest first. */
  devices(realm: string, subject: string): Promise<readonly KeptDevice[]>;
  /** Those that wait to be sent, oldest first. */
  notices(realm: string, subject: string): Promise<readonly Notice[]>;
}
