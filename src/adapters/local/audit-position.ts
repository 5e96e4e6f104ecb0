import type { AuditPosition } from '#src/adapters/audit/contract.ts';
import { json } from '#src/adapters/sql/row.ts';
import type { SqliteTransaction } from './sqlite-transaction.ts';

const NAME = 'audit.position';

export interface AuditMark extends AuditPosition {
  /** First and last positions before that of events whose effect, elsewhere, had not ended yet. */
  readonly open?: readonly (readonly [number, number])[];
}

/** How far the audit file had come when the state was last committed; kept in the state database. */
export function readAuditPosition(transaction: SqliteTransaction): AuditMark | undefined {
  const [row] = transaction.all('SELECT value FROM marks WHERE name = $1', NAME);
  return row && (json(row, 'value') as AuditMark);
}

export function writeAuditPosition(transaction: SqliteTransaction, position: AuditMark): void {
  transaction.run(
    'INSERT INTO marks (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
    NAME,
    JSON.stringify(position),
  );
}
