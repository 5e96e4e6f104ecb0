import type { Database } from 'better-sqlite3';
import type { EventDraft } from '#src/domain/audit-event.ts';
import type { Random } from '#src/ports/runtime.ts';
import { type PersonalKey, sealRecord } from './record.ts';
import { encodeRecord } from './record-encoding.ts';
import { rowHash } from './row-hash.ts';
import { type Columns, columnsOf } from './schema.ts';

/** A row before it is written. */
export interface Row extends Columns {
  readonly position: number;
  readonly sequence: number;
  readonly previousHash: Uint8Array;
  readonly record: Uint8Array;
  readonly hash: Uint8Array;
}

/** The end of a chain, to which the next row links. */
export interface Tip {
  readonly position: number;
  readonly sequence: number;
  readonly hash: Uint8Array;
}

/** What a row takes on disk beside its record: two hashes, columns, index entries, unfilled pages. */
export const ROW_OVERHEAD_BYTES = 320;

export function nextRow(
  chainId: string,
  tip: Tip,
  draft: EventDraft,
  personal: PersonalKey | undefined,
  random: Random,
): Row {
  const record = sealRecord(draft, personal, random);
  const bytes = encodeRecord(record);
  const sequence = tip.sequence + 1;
  return {
    ...columnsOf(record),
    position: tip.position + 1,
    sequence,
    previousHash: tip.hash,
    record: bytes,
    hash: rowHash(chainId, sequence, tip.hash, bytes),
  };
}

/** The prepared insert of rows. */
export function rowInserter(db: Database): (chain: number, row: Row) => void {
  const statement = db.prepare('INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
  return (chain, row) => {
    statement.run(
      row.position,
      chain,
      row.sequence,
      row.at,
      row.realm,
      row.type,
      row.outcome,
      row.subjectTag,
      row.challengeTag,
      row.sessionTag,
      row.previousHash,
      row.record,
      row.hash,
    );
  };
}
